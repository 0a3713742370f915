import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readForeignFile } from '../../unprivileged.ts';
import { maximumReleaseBytes, maximumReleaseFiles } from './repository.ts';

/**
 * The Release files and their signatures in a folder of lists on the worker, by name. Those that are too large, no
 * regular files or too many are left out.
 */
export async function readReleaseFiles(lists: string): Promise<Map<string, Buffer>> {
  const names = (await readdir(lists)).filter((name) => /_(?:InRelease|Release|Release\.gpg)$/.test(name)).sort();
  const found = new Map<string, Buffer>();
  for (const name of names.slice(0, maximumReleaseFiles)) {
    const content = await readForeignFile(join(lists, name), maximumReleaseBytes).catch(() => null);
    if (content !== null) found.set(name, content);
  }
  return found;
}
