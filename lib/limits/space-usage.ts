import { lstat, readdir, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isNodeError } from '../errors.ts';

/** Room on the file system that a folder lies on, in bytes. */
export interface Room {
  /** Number of the file system: equal for two folders on the same one. */
  readonly device: number;
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** The room at `folder`, or where the folder will be made. */
export async function readRoom(folder: string): Promise<Room> {
  try {
    const [{ dev: device }, { bavail, blocks, bsize }] = await Promise.all([stat(folder), statfs(folder)]);
    return { device, freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  } catch (error) {
    if (isNodeError(error) && error.code === 'ENOENT' && dirname(folder) !== folder) return readRoom(dirname(folder));
    throw error;
  }
}

/**
 * Bytes that the files below a folder take on the disk, without those that are shared with another folder (a cache).
 */
export async function usedBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const sizes = entries.map(async (entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return await usedBytes(path);
    const found = await lstat(path).catch(() => null);
    return found === null || found.nlink > 1 ? 0 : found.blocks * 512;
  });
  return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0);
}
