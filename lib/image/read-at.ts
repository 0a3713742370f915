import type { FileHandle } from 'node:fs/promises';
import { ImageBuilderError } from '../errors.ts';

/**
 * Reads exactly `length` bytes at `offset` of a file. Throws `image.truncated` when the file ends before them. Where
 * the caller has checked its offsets, that happens only when the file shrinks while it is read.
 */
export async function readAt(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  await readInto(handle, buffer, offset);
  return buffer;
}

/** Fills a buffer with the bytes at `offset` of a file. Throws as `readAt` does. */
export async function readInto(handle: FileHandle, buffer: Buffer, offset: number): Promise<void> {
  for (let filled = 0; filled < buffer.length; ) {
    const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, offset + filled);
    if (bytesRead === 0) {
      throw new ImageBuilderError(
        'image.truncated',
        `the image ends at byte ${offset + filled}, within the ${buffer.length} bytes wanted from byte ${offset} on`,
      );
    }
    filled += bytesRead;
  }
}

/** The big-endian unsigned 64-bit number at `offset`; Infinity where a number cannot hold it exactly. */
export function readBig(buffer: Buffer, offset: number): number {
  return exact(buffer.readBigUInt64BE(offset));
}

/** The little-endian unsigned 64-bit number at `offset`; Infinity where a number cannot hold it exactly. */
export function readLittle(buffer: Buffer, offset: number): number {
  return exact(buffer.readBigUInt64LE(offset));
}

/** The bytes up to the first zero byte, as UTF-8 text without surrounding blanks; null where nothing is left. */
export function readText(buffer: Buffer, start: number, length: number): string | null {
  const bytes = buffer.subarray(start, start + length);
  const end = bytes.indexOf(0);
  const text = (end < 0 ? bytes : bytes.subarray(0, end)).toString('utf8').trim();
  return text === '' ? null : text;
}

function exact(value: bigint): number {
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.POSITIVE_INFINITY : Number(value);
}
