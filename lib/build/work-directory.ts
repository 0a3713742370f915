import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError, isNodeError } from '../errors.ts';
import { tryLock } from '../lock.ts';
import type { Log } from '../log.ts';

/** A folder of one build alone; disposing removes it with everything in it. */
export interface WorkDirectory extends AsyncDisposable {
  readonly path: string;
}

/**
 * Creates the empty work directory `<root>/<build id>`. The lock on the folder itself says that its worker lives.
 * Throws `internal` where another worker on this machine works in it.
 */
export async function openWorkDirectory(root: string, buildId: string): Promise<WorkDirectory> {
  const path = join(root, buildId);
  await mkdir(path, { recursive: true, mode: 0o700 });
  const held = await tryLock(path);
  if (held === null) throw new ImageBuilderError('internal', `another worker on this machine works in ${path}`);
  await emptyFolder(path);
  return {
    path,
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true });
      await held[Symbol.asyncDispose]();
    },
  };
}

/**
 * Removes the work directories whose worker is dead. `beforeRemoval` ends what a dead worker left running on one; a
 * folder for which it throws stays for the next sweep.
 */
export async function sweepWorkDirectories(
  root: string,
  options: { readonly beforeRemoval: (path: string) => Promise<void>; readonly log: Log },
): Promise<void> {
  for (const name of await folderNames(root)) {
    const path = join(root, name);
    const held = await tryLock(path);
    if (held === null) continue;
    try {
      await options.beforeRemoval(path);
      await rm(path, { recursive: true, force: true });
      options.log.info('removed what a dead worker left', { work_directory: path });
    } catch (error) {
      options.log.warn('cannot remove what a dead worker left', { work_directory: path, error });
    } finally {
      await held[Symbol.asyncDispose]();
    }
  }
}

async function emptyFolder(path: string): Promise<void> {
  for (const name of await readdir(path)) await rm(join(path, name), { recursive: true, force: true });
}

async function folderNames(root: string): Promise<string[]> {
  try {
    const entries = await readdir(root, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch (error) {
    if (isNodeError(error) && error.code === 'ENOENT') return [];
    throw error;
  }
}
