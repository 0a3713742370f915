import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';

/**
 * The files of these parts of a repository, and below those that are folders, by their paths from `root`, sorted; none is
 * below a folder named node_modules. Where `root` is a clone, only files that git knows: notes, swap files of editors and
 * secrets that lie about in it stay out of packages.
 */
export async function repositoryFiles(root: string, parts: readonly string[]): Promise<string[]> {
  const found = await filesBelow(root, parts);
  const isClone = await access(join(root, '.git')).then(
    () => true,
    () => false,
  );
  if (!isClone) return found;
  const options = ['-C', root, '-c', `safe.directory=${root}`];
  const { stdout } = await exec('git', [...options, 'ls-files', '-z', '--', ...parts]);
  const known = new Set(stdout.split('\0'));
  return found.filter((path) => known.has(path));
}

/** The files of these parts, and below those that are folders, but for npm packages below one of them; sorted. */
export async function filesBelow(root: string, parts: readonly string[]): Promise<string[]> {
  const nested = ['-name', 'node_modules', '-prune'];
  const { stdout } = await exec('find', [...parts, ...nested, '-o', '-type', 'f', '-print'], { cwd: root });
  return stdout
    .split('\n')
    .filter((path) => path !== '')
    .toSorted();
}
