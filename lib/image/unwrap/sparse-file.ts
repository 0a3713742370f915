import type { FileHandle } from 'node:fs/promises';
import { ImageBuilderError } from '../../errors.ts';
import { writeSparse } from '../../write-sparse.ts';

/**
 * Writes the chunks into a file that is empty from `offset` on, and leaves holes where whole blocks are zero: an unpacked
 * disk is mostly empty. Resolves with the offset of the end, which becomes the end of the file. Throws `image.too_large`
 * before it would write beyond `maximumBytes`, or an error of the chunks.
 */
export async function writeUnpacked(
  file: FileHandle,
  chunks: AsyncIterable<Buffer>,
  maximumBytes: number,
  offset = 0,
): Promise<number> {
  let position = offset;
  for await (const chunk of chunks) {
    if (position + chunk.length > maximumBytes) throw unpackedTooLarge(maximumBytes);
    await writeSparse(file, chunk, position);
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
