import type { FileHandle } from 'node:fs/promises';

const blockBytes = 64 * 1024;
const zeros = Buffer.alloc(blockBytes);

/**
 * Writes the chunks into a file that is empty from `offset` on, and leaves holes where whole blocks are zero: an unpacked disk is mostly empty.
 * Resolves with the offset of the end, which becomes the end of the file. Throws what `check` throws, which is called
 * with the coming end before each write, or an error of the chunks.
 */
export async function writeSparse(
  file: FileHandle,
  chunks: AsyncIterable<Buffer>,
  check: (endOffset: number) => void,
  offset = 0,
): Promise<number> {
  let position = offset;
  for await (const chunk of chunks) {
    check(position + chunk.length);
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

async function writeAll(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}
