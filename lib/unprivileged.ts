import { constants } from 'node:fs';
import { lchown, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from './exec.ts';
import type { UnprivilegedUser } from './privileges.ts';

/** What the worker does around tools that run as another user; with null for that user, as the worker itself. */

/**
 * Gives a file, or a folder with all that is in it, to `user`. For what only the worker has written so far: nobody may
 * be able to change it meanwhile. Links are not followed.
 */
export async function giveTo(user: UnprivilegedUser | null, path: string): Promise<void> {
  if (user === null) return;
  await lchown(path, user.id, user.id);
  const entries = await readdir(path, { withFileTypes: true, recursive: true }).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOTDIR') return [];
      throw error;
    },
  );
  for (const entry of entries) await lchown(join(entry.parentPath, entry.name), user.id, user.id);
}

/**
 * Kills every process of `user`, whatever it has done to stay. Afterwards nobody changes its files any more. Only for a
 * user of `newUnprivilegedUser`, which has no others.
 */
export async function endProcesses(user: UnprivilegedUser | null): Promise<void> {
  if (user !== null) await exec('sh', ['-c', 'kill -KILL -1 2>/dev/null; :'], { user });
}

/**
 * What is in a file that another user may have put there. Throws where it is none, such as a link to a file of the
 * worker's, or larger than `maximumBytes`.
 */
export async function readForeignFile(path: string, maximumBytes: number): Promise<Buffer> {
  await using file = await openForeignFile(path);
  const { size } = await file.stat();
  if (size > maximumBytes) throw new Error(`${path} is larger than ${maximumBytes} bytes`);
  const content = Buffer.alloc(size);
  const { bytesRead } = await file.read(content, 0, size, 0);
  return content.subarray(0, bytesRead);
}

/** Opens such a file for reading. */
export async function openForeignFile(path: string) {
  // Without O_NONBLOCK, a pipe would wait for its other end.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw new Error(`${path} is no regular file`);
}
