import { mkdir } from 'node:fs/promises';
import { exec } from '#lib/exec.ts';

/** Puts the files of a medium into a new folder, where they can be changed. Gives back the folder. */
export async function extractMedium(path: string, tree: string): Promise<string> {
  await mkdir(tree);
  await exec('xorriso', ['-osirrox', 'on', '-indev', path, '-extract', '/', tree]);
  await exec('chmod', ['-R', 'u+w', tree]);
  return tree;
}
