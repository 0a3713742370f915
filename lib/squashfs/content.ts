import { readLittle } from '../image/read-at.ts';
import type { Tree } from './entry.ts';
import type { FileInode } from './inode.ts';
import { storedBlock } from './inspect.ts';
import { corrupt, tooLarge } from './refusals.ts';
import { type Region, readRegion } from './region.ts';
import { type PackedBlock, unpackBlocks } from './unpack.ts';
import type { ToolLimits } from './xz.ts';

const fragmentBytes = 16;

/**
 * Reads one file whole. Throws `image.too_large` where it has more than `maximumBytes`, `image.corrupt` where a block
 * cannot be unpacked to its length, or the reason of the signal.
 */
export async function readContent(
  region: Region,
  { superblock, tables }: Tree,
  file: FileInode,
  maximumBytes: number,
  limits: ToolLimits,
): Promise<Buffer> {
  if (file.sizeBytes > maximumBytes) {
    throw tooLarge(`file ${file.number} has ${file.sizeBytes} bytes, more than ${maximumBytes}`);
  }
  const { blockSizeBytes, compressor } = superblock;
  const packed: PackedBlock[] = [];
  /** Place of each packed block in the file, and of its content in the block. */
  const places: { readonly at: number; readonly from: number; readonly length: number }[] = [];
  const add = async (start: number, size: number, at: number, from: number, length: number) => {
    packed.push({ bytes: await readRegion(region, start, size % storedBlock), stored: size >= storedBlock });
    places.push({ at, from, length });
  };
  let start = file.start;
  for (let index = 0; index < file.blockCount; index++) {
    limits.signal.throwIfAborted();
    const size = tables.inodes.bytes.readUInt32LE(file.blockList + 4 * index);
    if (size === 0) continue;
    const at = index * blockSizeBytes;
    await add(start, size, at, 0, Math.min(blockSizeBytes, file.sizeBytes - at));
    start += size % storedBlock;
  }
  const tailBytes = file.sizeBytes % blockSizeBytes;
  if (file.fragment !== null && tailBytes > 0) {
    const record = file.fragment * fragmentBytes;
    const size = tables.fragments.readUInt32LE(record + 8);
    const place = readLittle(tables.fragments, record);
    await add(place, size, file.sizeBytes - tailBytes, file.fragmentOffset, tailBytes);
  }
  // Holes stay zero.
  const content = Buffer.alloc(file.sizeBytes);
  const blocks = await unpackBlocks(packed, compressor, blockSizeBytes, limits);
  for (const [index, { at, from, length }] of places.entries()) {
    const block = blocks[index];
    if (block === undefined || block.length < from + length) throw corrupt(`a block of file ${file.number} is cut off`);
    block.copy(content, at, from, from + length);
  }
  return content;
}
