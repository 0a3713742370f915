import { mkdir, mkdtemp, readdir, realpath, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isNodeError } from '../errors.ts';
import { tryLockFolder } from '../lock.ts';
import type { Log } from '../log.ts';

/** A folder of one build alone; disposing removes it with everything in it. */
export interface WorkDirectory extends AsyncDisposable {
  /** Without symbolic links, as the kernel's tables of mounts name what lies below it. */
  readonly path: string;
}

/**
 * Creates the empty work directory `<root>/<build id>.<random>`, one for each attempt: an earlier attempt may not have
 * noticed yet that it was given up. The lock on the folder itself shows that its worker lives. With `keep`, disposing
 * leaves the folder, for the next sweep.
 */
export async function openWorkDirectory(
  root: string,
  buildId: string,
  { keep = false }: { readonly keep?: boolean } = {},
): Promise<WorkDirectory> {
  await mkdir(root, { recursive: true, mode: 0o711 });
  const realRoot = await realpath(root);
  for (;;) {
    const path = await mkdtemp(join(realRoot, `${buildId}.`));
    const held = await tryLockFolder(path);
    // A sweep between the two steps has taken the folder for one of a dead worker.
    if (held !== null && (await isFolder(path))) {
      return {
        path,
        async [Symbol.asyncDispose]() {
          if (!keep) await rm(path, { recursive: true, force: true });
          await held[Symbol.asyncDispose]();
        },
      };
    }
    await held?.[Symbol.asyncDispose]();
    await rm(path, { recursive: true, force: true });
  }
}

/**
 * Removes the work directories whose worker is dead. `beforeRemoval` ends processes that a dead worker left running on
 * one; a folder for which it throws stays for the next sweep.
 */
export async function sweepWorkDirectories(
  root: string,
  options: { readonly beforeRemoval: (path: string) => Promise<void>; readonly log: Log },
): Promise<void> {
  const names = await folderNames(root);
  if (names.length === 0) return;
  const realRoot = await realpath(root);
  for (const name of names) {
    const path = join(realRoot, name);
    const held = await tryLockFolder(path);
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

async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
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
