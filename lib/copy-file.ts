import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { exec } from './exec.ts';
import { writeSparse } from './write-sparse.ts';

export interface CopyOptions {
  readonly signal: AbortSignal;
  /** Called with the bytes that are copied, and those of the file. */
  readonly onProgress?: (bytes: number, totalBytes: number) => void;
}

const chunkBytes = 1024 * 1024;

/** Copies a file to a path that does not exist, bit by bit. A raw disk is mostly empty, and its holes stay holes. */
export async function copySparse(from: string, to: string, { signal, onProgress }: CopyOptions): Promise<void> {
  await using source = await open(from, 'r');
  await using target = await open(to, 'wx');
  const { size } = await source.stat();
  // One piece of memory for all: new ones make V8 look for garbage after every few of them.
  const chunk = Buffer.allocUnsafe(chunkBytes);
  let copied = 0;
  for (;;) {
    signal.throwIfAborted();
    const { bytesRead } = await source.read(chunk, 0, chunkBytes, copied);
    if (bytesRead === 0) break;
    await writeSparse(target, chunk.subarray(0, bytesRead), copied);
    copied += bytesRead;
    onProgress?.(copied, size);
  }
  await target.truncate(copied);
}

/**
 * The same by cp, within the kernel; the two share their blocks where the file system can. Unlike a copy by this process,
 * it can be killed at any time. The copy has the mode of a new file.
 */
export async function cloneFile(from: string, to: string, signal: AbortSignal): Promise<void> {
  const options = ['--no-preserve=mode', '--reflink=auto', '--sparse=auto'];
  await exec('cp', [...options, '--', resolve(from), resolve(to)], { signal });
}
