import type { FileHandle } from 'node:fs/promises';
import type { Spend } from './budget.ts';
import { readAt } from './read-at.ts';

/** The disk that an image holds, for reading a few blocks anywhere on it. */
export interface Disk {
  readonly sizeBytes: number;
  /**
   * The bytes from `offset` on, exactly `length` of them. Throws RangeError outside the disk, `image.corrupt` where
   * compressed data cannot be decompressed, `image.truncated` where the file has shrunk since its inspection.
   */
  read(offset: number, length: number): Promise<Buffer>;
}

/** A raw file as a disk. The handle stays the caller's. An error thrown by `spend` ends a read. */
export function rawDisk(handle: FileHandle, sizeBytes: number, spend: Spend = () => {}): Disk {
  return {
    sizeBytes,
    async read(offset, length) {
      expectOnDisk(offset, length, sizeBytes);
      spend(length);
      return readAt(handle, offset, length);
    },
  };
}

/** Throws RangeError unless the bytes lie on the disk. */
export function expectOnDisk(offset: number, length: number, sizeBytes: number): void {
  const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
  if (!whole || offset < 0 || length < 0 || offset + length > sizeBytes) {
    throw new RangeError(`bytes ${offset} to ${offset + length} are not on a disk of ${sizeBytes} bytes`);
  }
}
