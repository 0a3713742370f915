import { constants } from 'node:fs';
import { type FileHandle, lchown, lstat, mkdtemp, open, readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ImageBuilderError, isNodeError } from './errors.ts';
import { exec } from './exec.ts';
import { hindrance, type IdRange, newUnprivilegedUser, type UnprivilegedUser } from './privileges.ts';

/** Helps the worker around tools that run as another user; with null for that user, as the worker itself. */

/**
 * Gives a file, or a folder with all its content, to `user`. Only for files that only the worker has written so far: no
 * other process may be able to change them meanwhile. Links are not followed.
 */
export async function giveTo(user: UnprivilegedUser | null, path: string): Promise<void> {
  if (user === null) return;
  const found = await lstat(path);
  await lchown(path, user.id, user.id);
  if (!found.isDirectory()) return;
  const entries = await readdir(path, { withFileTypes: true, recursive: true });
  for (const entry of entries) await lchown(join(entry.parentPath, entry.name), user.id, user.id);
}

/**
 * The reason why QEMU, apt or gpg of a worker that is root, and works in `workDirectory`, stay root's, without
 * capabilities; null where they do not, or where this process is not root.
 */
export async function whyToolsStayRoot(range: IdRange, workDirectory: string): Promise<string | null> {
  if (process.geteuid?.() !== 0) return null;
  const reason = hindrance(range);
  if (reason !== null) return reason;
  const closed = await closedFolder(join(workDirectory, 'a build'));
  return closed === null ? null : `other users cannot search ${closed}: chmod o+x, or set IMAGEBUILDER_WORK_DIRECTORY`;
}

/** The highest folder above `path` that other users cannot search; null where they reach `path` itself. */
export async function closedFolder(path: string): Promise<string | null> {
  const above = dirname(path);
  if (above === path) return null;
  const higher = await closedFolder(above);
  if (higher !== null) return higher;
  const found = await stat(above).catch((error: unknown) => {
    if (isNodeError(error) && error.code === 'ENOENT') return null;
    throw error;
  });
  return found !== null && (found.mode & 0o001) === 0 ? above : null;
}

/** A folder for one use of a tool, and the user who is to own it: null for the worker's own. */
export interface ToolHome extends AsyncDisposable {
  readonly path: string;
  readonly user: UnprivilegedUser | null;
}

/**
 * Makes an empty folder in `workDirectory`, the worker's own until `giveTo`. Disposing kills the rest of the user's
 * processes and removes the folder.
 */
export async function openToolHome(workDirectory: string, prefix: string, range: IdRange): Promise<ToolHome> {
  const path = await mkdtemp(join(workDirectory, prefix));
  const user = newUnprivilegedUser(range);
  return {
    ...{ path, user },
    async [Symbol.asyncDispose]() {
      await endProcesses(user);
      await rm(path, { recursive: true, force: true });
    },
  };
}

/**
 * Kills every process of `user`, even those that try to stay. Afterwards no process changes the user's files any more.
 * Only for a user of `newUnprivilegedUser`, which has no other processes.
 */
export async function endProcesses(user: UnprivilegedUser | null): Promise<void> {
  if (user !== null) await exec('sh', ['-c', 'kill -KILL -1 2>/dev/null; :'], { user });
}

/**
 * Reads a file that another user may have put there. Throws `tool.failed` where it is not a regular file, such as a
 * link to a file of the worker's, or larger than `maximumBytes`.
 */
export async function readForeignFile(path: string, maximumBytes: number): Promise<Buffer> {
  await using file = await openForeignFile(path);
  const { size } = await file.stat();
  if (size > maximumBytes) throw new ImageBuilderError('tool.failed', `${path} is larger than ${maximumBytes} bytes`);
  const content = Buffer.alloc(size);
  const { bytesRead } = await file.read(content, 0, size, 0);
  return content.subarray(0, bytesRead);
}

/** Opens such a file for reading. */
export async function openForeignFile(path: string): Promise<FileHandle> {
  // Without O_NONBLOCK, a pipe would wait for its other end.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(path, flags).catch((error: unknown) => {
    if (isNodeError(error) && (error.code === 'ELOOP' || error.code === 'ENXIO')) throw noFile(path);
    throw error;
  });
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw noFile(path);
}

function noFile(path: string): ImageBuilderError {
  return new ImageBuilderError('tool.failed', `${path} is no regular file`);
}
