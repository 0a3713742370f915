import type { FileHandle } from 'node:fs/promises';
import { ImageBuilderError } from '../../errors.ts';
import { writeAll } from '../../write-all.ts';

const blockBytes = 64 * 1024;
const zeros = Buffer.alloc(blockBytes);

/**
 * Writes the chunks into a file that is empty from `offset` on, and leaves holes where whole blocks are zero: an unpacked
 * disk is mostly empty. Resolves with the offset of the end, which becomes the end of the file. Throws `image.too_large`
 * before it would write beyond `maximumBytes`, or an error of the chunks.
 */
export async function writeSparse(
  file: FileHandle,
  chunks: AsyncIterable<Buffer>,
  maximumBytes: number,
  offset = 0,
): Promise<number> {
  let position = offset;
  for await (const chunk of chunks) {
    if (position + chunk.length > maximumBytes) throw unpackedTooLarge(maximumBytes);
    for (let start = 0; start < chunk.length; ) {
      // Up to the next boundary of a block, so that the blocks are those of the file.
      const length = Math.min(blockBytes - ((position + start) % blockBytes), chunk.length - start);
      const piece = chunk.subarray(start, start + length);
      if (!piece.equals(zeros.subarray(0, length))) await writeAll(file, piece, position + start);
      start += length;
    }
    position += chunk.length;
  }
  await file.truncate(position);
  return position;
}

/** The error of an image that unpacks to more than it may. */
export function unpackedTooLarge(maximumBytes: number): ImageBuilderError {
  return new ImageBuilderError(
    'image.too_large',
    `the image unpacks to more than the ${maximumBytes} bytes that IMAGEBUILDER_MAXIMUM_VIRTUAL_SIZE and its size as packed allow`,
  );
}
