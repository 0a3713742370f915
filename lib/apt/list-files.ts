import { constants, createWriteStream } from 'node:fs';
import { copyFile, link, lstat, open, readdir, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { isNodeError } from '../errors.ts';

/** The files of a folder of package lists, as apt writes them to /var/lib/apt/lists, and of others that it keeps. */

const MiB = 1024 * 1024;

/** The names in a folder, sorted; none where it is not there. */
export async function namesIn(folder: string, accept: (name: string) => boolean = () => true): Promise<string[]> {
  const names = await readdir(folder).catch((error: unknown) => ignoreMissing(error) ?? []);
  return names.filter(accept).sort();
}

/**
 * Whether a list may have the name, `server_path_file` as apt names them, or `_path_file` for those that a list of mirrors leads
 * to; apt's lock, its partial folder and foreign files have others. The server's name may have characters that the file's may not.
 */
export function isListName(name: string): boolean {
  const mark = name.lastIndexOf('_', name.length - 2);
  return (
    /^[A-Za-z0-9_][A-Za-z0-9._%:+~@,=-]*$/.test(name.slice(0, Math.max(0, mark))) &&
    /^[A-Za-z0-9._-]+$/.test(name.slice(mark + 1))
  );
}

/** Equal for folders with the same files: names, sizes and times, which apt sets to the server's. */
export async function describeFiles(folder: string, accept?: (name: string) => boolean): Promise<string> {
  const names = await namesIn(folder, accept);
  const lines = names.map(async (name) => {
    const found = await lstat(join(folder, name));
    return `${name} ${found.size} ${Math.floor(found.mtimeMs / 1000)}`;
  });
  return (await Promise.all(lines)).join('\n');
}

/**
 * Copies the files that a build has published, with their times. The kernel copies, and shares the blocks where
 * it can.
 */
export async function takeFiles(published: string, folder: string, signal: AbortSignal): Promise<void> {
  for (const name of await namesIn(published)) {
    signal.throwIfAborted();
    const source = join(published, name);
    const target = join(folder, name);
    await copyFile(source, target, constants.COPYFILE_FICLONE);
    const { mtime } = await stat(source);
    await utimes(target, mtime, mtime);
  }
}

/** Links published files, which nobody changes, into a folder; copies them where it lies in another file system. */
export async function linkFiles(published: string, folder: string): Promise<void> {
  for (const name of await namesIn(published)) {
    const [source, target] = [join(published, name), join(folder, name)];
    await link(source, target).catch(() => copyFile(source, target, constants.COPYFILE_EXCL));
  }
}

/**
 * Copies regular files with their times, never following a link, as the image's root may have put one there. False
 * when they are larger than `maximumBytes` together.
 */
export async function copyFiles(
  from: string,
  to: string,
  options: {
    readonly accept: (name: string) => boolean;
    readonly maximumBytes: number;
    readonly signal: AbortSignal;
  },
): Promise<boolean> {
  let total = 0;
  for (const name of await namesIn(from, options.accept)) {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const file = await open(join(from, name), flags).catch((error: unknown) => {
      if (isNodeError(error) && (error.code === 'ELOOP' || error.code === 'ENXIO')) return null;
      throw error;
    });
    if (file === null) continue;
    try {
      const { size, mtime } = await file.stat().then((found) => (found.isFile() ? found : { size: -1, mtime: 0 }));
      if (size < 0) continue;
      total += size;
      if (total > options.maximumBytes) return false;
      const target = join(to, name);
      // Opened once and read from there: the path may lead to another file by now.
      const source = file.createReadStream({
        autoClose: false,
        start: 0,
        end: Math.max(0, size - 1),
        highWaterMark: MiB,
      });
      await pipeline(size === 0 ? [] : source, createWriteStream(target, { mode: 0o644 }), { signal: options.signal });
      await utimes(target, mtime, mtime);
    } finally {
      await file.close();
    }
  }
  return true;
}

/** Undefined for the error of a file that is not there. Throws every other one. */
export function ignoreMissing(error: unknown): undefined {
  if (isNodeError(error) && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return undefined;
  throw error;
}
