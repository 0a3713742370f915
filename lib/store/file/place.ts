import { randomUUID } from 'node:crypto';
import { chmod, chown, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { copySparse } from '../../copy-file.ts';
import { ImageBuilderError, isNodeError, isNoSpace, messageOf } from '../../errors.ts';
import { storeModes } from '../../folders/settings.ts';
import type { StorePutOptions } from '../store.ts';
import { incomingPrefix } from './records.ts';

/** The folder of the file store: how files come into it and leave it, and who may read them. */
export interface Place {
  readonly modes: (typeof storeModes)[keyof typeof storeModes];
  /** Gives a file or folder the mode, and its group access where the operator wants that. */
  admit(path: string, mode: number): Promise<void>;
  /** Removes what attempts, and deletions, of this build (or image) have left unfinished. */
  discard(id: string): Promise<void>;
  /** The error of a failure in this folder. */
  readonly failed: (error: unknown) => ImageBuilderError;
}

export function openPlace(directory: string, readers: keyof typeof storeModes): Place {
  return {
    modes: storeModes[readers],
    async admit(path, mode) {
      // The group is the one that the operator has set on the store's folder.
      if (readers === 'group') await chown(path, (await stat(path)).uid, (await stat(directory)).gid);
      await chmod(path, mode);
    },
    async discard(id) {
      const names = await readdir(directory).catch(() => []);
      for (const name of names.filter((candidate) => candidate.startsWith(incomingPrefix(id)))) {
        await removeFolder(directory, id, join(directory, name));
      }
    },
    failed(error) {
      if (error instanceof ImageBuilderError) return error;
      if (isNoSpace(error)) {
        return new ImageBuilderError('disk.full', `no space is left in the store directory ${directory}`, {
          cause: error,
        });
      }
      const reason = messageOf(error);
      return new ImageBuilderError('store.failed', `the file store at ${directory} failed: ${reason}`, {
        cause: error,
      });
    },
  };
}

/**
 * Removes a folder by one rename, like its way in: nobody sees a part of it, an attempt that still writes makes no more
 * files in it, and `discard` removes what an interruption leaves. Does nothing where there is none.
 */
export async function removeFolder(directory: string, id: string, path: string): Promise<void> {
  const taken = join(directory, `${incomingPrefix(id)}${randomUUID()}`);
  if (await renamed(path, taken)) await rm(taken, { recursive: true, force: true });
}

/** False where there is nothing to rename (any more). */
async function renamed(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (isNodeError(error) && error.code === 'ENOENT') return false;
    throw error;
  }
}

/** Renames, or copies where the two lie on different file systems. `syncFiles` flushes the data. */
export async function move(from: string, to: string, options: StorePutOptions): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!isNodeError(error) || error.code !== 'EXDEV') throw error;
    await copySparse(from, to, options);
  }
  const { size } = await stat(to);
  options.onProgress(size, size);
}

/** Flushes the files of a folder, and their names, to the disk: a folder that is then renamed into its place is whole. */
export async function syncFiles(folder: string): Promise<void> {
  for (const name of await readdir(folder)) await sync(join(folder, name));
  await sync(folder);
}

/** Flushes a file, or the names in a folder, to the disk. */
export async function sync(path: string): Promise<void> {
  await using handle = await open(path, 'r');
  await handle.sync();
}
