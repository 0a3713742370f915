import { constants, createReadStream } from 'node:fs';
import { copyFile, open, stat } from 'node:fs/promises';
import { writeSparse } from './write-sparse.ts';

export interface CopyOptions {
  readonly signal: AbortSignal;
  /** Called with the bytes that are copied, and those of the file. */
  readonly onProgress?: (bytes: number, totalBytes: number) => void;
}

/** Copies a file to a path that does not exist, bit by bit. A raw disk is mostly empty, and its holes stay holes. */
export async function copySparse(from: string, to: string, { signal, onProgress }: CopyOptions): Promise<void> {
  const { size } = await stat(from);
  await using target = await open(to, 'wx');
  let copied = 0;
  for await (const chunk of createReadStream(from, { highWaterMark: 1024 * 1024, signal })) {
    await writeSparse(target, chunk, copied);
    copied += chunk.length;
    onProgress?.(copied, size);
  }
  await target.truncate(copied);
}

/** The same in one call of the kernel, where the file has no holes; the two share their blocks where they can. */
export async function cloneFile(from: string, to: string, signal: AbortSignal): Promise<void> {
  const { size, blocks } = await stat(from);
  if (blocks * 512 < size) return await copySparse(from, to, { signal });
  await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  signal.throwIfAborted();
}
