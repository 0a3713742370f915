import type { FileHandle } from 'node:fs/promises';
import { haveSameBytes } from '../same-bytes.ts';
import { writeAll } from '../write-all.ts';
import { readInto } from './read-at.ts';

/** A run of bytes of an open file. */
export interface FileRange {
  readonly handle: FileHandle;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** Larger ones do not stay in the caches of processors. */
export const chunkBytes = 2 ** 20;

/**
 * Reads ranges one behind the other, in chunks of at most 1 MiB, none of which has bytes of two ranges. `room` gives the
 * memory for each; without it, a chunk is valid until the next one is asked for: all lie in one piece of memory. Throws
 * `image.truncated` where a file is shorter than its range, or the reason of the signal.
 */
export async function* readRanges(
  ranges: readonly FileRange[],
  signal: AbortSignal,
  room?: () => Promise<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  const own = room === undefined ? Buffer.allocUnsafe(chunkBytes) : null;
  for (const { handle, offsetBytes, sizeBytes } of ranges) {
    for (let done = 0; done < sizeBytes; done += chunkBytes) {
      signal.throwIfAborted();
      const memory = own ?? (await room?.()) ?? Buffer.alloc(0);
      const chunk = memory.subarray(0, Math.min(chunkBytes, sizeBytes - done));
      await readInto(handle, chunk, offsetBytes + done);
      yield chunk;
    }
  }
}

/** Copies ranges, one behind the other, to a place of another file. Throws as `readRanges` does. */
export async function copyRanges(
  ranges: readonly FileRange[],
  to: FileHandle,
  toBytes: number,
  signal: AbortSignal,
): Promise<void> {
  let at = toBytes;
  for await (const chunk of readRanges(ranges, signal)) {
    await writeAll(to, chunk, at);
    at += chunk.length;
  }
}

/** Whether two lists of ranges hold the same bytes. Throws as `readRanges` does. */
export async function areEqual(
  one: readonly FileRange[],
  other: readonly FileRange[],
  signal: AbortSignal,
): Promise<boolean> {
  if (sizeOfRanges(one) !== sizeOfRanges(other)) return false;
  return await haveSameBytes(readRanges(one, signal), readRanges(other, signal));
}

/** The bytes from `start` to `end` of what the ranges hold together. */
export function sliceRanges(ranges: readonly FileRange[], start: number, end: number): FileRange[] {
  let at = 0;
  return ranges.flatMap(({ handle, offsetBytes, sizeBytes }) => {
    const from = Math.max(0, start - at);
    const to = Math.min(sizeBytes, end - at);
    at += sizeBytes;
    return from < to ? [{ handle, offsetBytes: offsetBytes + from, sizeBytes: to - from }] : [];
  });
}

/** The number of bytes that ranges hold together. */
export function sizeOfRanges(ranges: readonly Pick<FileRange, 'sizeBytes'>[]): number {
  return ranges.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}
