import type { FileHandle } from 'node:fs/promises';
import { writeAll } from './write-all.ts';

const blockBytes = 64 * 1024;
const zeros = Buffer.alloc(blockBytes);

/**
 * Writes the chunk at `position` of a file that is empty from there on, and leaves holes where whole blocks of the file
 * are zero. The caller sets the length of the file at the end, since holes do not make it longer.
 */
export async function writeSparse(file: FileHandle, chunk: Buffer, position: number): Promise<void> {
  for (let start = 0; start < chunk.length; ) {
    // Up to the next boundary of a block, so that the blocks are those of the file.
    const length = Math.min(blockBytes - ((position + start) % blockBytes), chunk.length - start);
    const piece = chunk.subarray(start, start + length);
    if (!piece.equals(zeros.subarray(0, length))) await writeAll(file, piece, position + start);
    start += length;
  }
}
