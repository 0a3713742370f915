import type { FileHandle } from 'node:fs/promises';
import { truncated } from './refusals.ts';

/** A part of a file that holds a tar archive. Offsets in bytes. */
export interface Region {
  readonly handle: FileHandle;
  readonly offset: number;
  readonly length: number;
}

/** Bytes at a place inside a region. Throws `image.truncated` where the region or its file is shorter. */
export type RegionReader = (at: number, length: number) => Promise<Buffer>;

const windowBytes = 64 * 1024;

/**
 * A reader for places in ascending order: it reads ahead, because headers lie close together. The bytes that it gives stay
 * as they are.
 */
export function createReader({ handle, offset, length: regionBytes }: Region): RegionReader {
  let window: Buffer = Buffer.alloc(0);
  let windowAt = 0;
  return async (at, length) => {
    if (at + length > regionBytes) throw truncated(`it has ${regionBytes} bytes, and goes on behind them`);
    if (at < windowAt || at + length > windowAt + window.length) {
      window = await readAll(handle, offset + at, Math.min(regionBytes - at, Math.max(length, windowBytes)));
      windowAt = at;
      if (window.length < length) throw truncated('its file has shrunk');
    }
    return window.subarray(at - windowAt, at - windowAt + length);
  };
}

const chunkBytes = 2 ** 20;

/** The bytes of a region between two places, in pieces. Throws `image.truncated`, or the reason of the signal. */
export async function* readPieces(
  { handle, offset }: Region,
  start: number,
  end: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  for (let at = start; at < end; ) {
    signal.throwIfAborted();
    const bytes = await readAll(handle, offset + at, Math.min(chunkBytes, end - at));
    if (bytes.length === 0) throw truncated('its file has shrunk');
    yield bytes;
    at += bytes.length;
  }
}

/** As many bytes as there are, `length` at most. */
async function readAll(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(buffer, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}
