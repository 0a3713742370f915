import type { FileHandle } from 'node:fs/promises';
import { readAt } from '../image/read-at.ts';

/** A part of a file that holds a SquashFS: a layer lies inside an ISO 9660 image, in one piece. Offsets in bytes. */
export interface Region {
  readonly handle: FileHandle;
  readonly offset: number;
  readonly length: number;
}

/**
 * Reads bytes at a place inside the region, which the caller has checked. Throws `image.truncated` where the file is
 * shorter than its region.
 */
export async function readRegion(region: Region, offset: number, length: number): Promise<Buffer> {
  if (offset < 0 || length < 0 || offset + length > region.length) throw new RangeError('outside of the region');
  return await readAt(region.handle, region.offset + offset, length);
}
