import { ImageBuilderError } from '../errors.ts';
import type { Disk } from '../image/disk.ts';
import { plain } from '../text.ts';
import { truncate } from '../width.ts';

/** The units and numbers of ISO 9660 (ECMA-119, 4th edition), and its two errors. */

export const blockBytes = 2048;

/** The blocks of a volume that files and folders may lie in. */
export interface Volume {
  readonly disk: Disk;
  /** Size of the volume by its own descriptor, at most that of the file. */
  readonly sizeBytes: number;
}

/** A run of bytes of the image. */
export interface Extent {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** A 32-bit number that is stored twice, little-endian first. Throws `image.corrupt` where the two differ. */
export function readBoth32(buffer: Buffer, offset: number, what: string): number {
  return agreed(buffer.readUInt32LE(offset), buffer.readUInt32BE(offset + 4), what);
}

/** The same with 16 bits. */
export function readBoth16(buffer: Buffer, offset: number, what: string): number {
  return agreed(buffer.readUInt16LE(offset), buffer.readUInt16BE(offset + 2), what);
}

function agreed(little: number, big: number, what: string): number {
  if (little !== big) throw corrupt(`${what} is ${little} in its one half and ${big} in the other`);
  return little;
}

export function corrupt(message: string): ImageBuilderError {
  return new ImageBuilderError('image.corrupt', `the ISO 9660 image is damaged: ${shown(message)}`);
}

export function unsupported(message: string): ImageBuilderError {
  return new ImageBuilderError('image.unsupported', `the ISO 9660 image cannot be changed here: ${shown(message)}`);
}

export function unsafe(message: string): ImageBuilderError {
  return new ImageBuilderError('image.unsafe', `the ISO 9660 image is refused: ${shown(message)}`);
}

/** Messages about a medium carry names that strangers have chosen. */
export function shown(message: string): string {
  return truncate(plain(message), 300);
}
