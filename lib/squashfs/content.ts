import { readLittle } from '../image/read-at.ts';
import type { Tree } from './entry.ts';
import type { FileInode } from './inode.ts';
import { storedBlock } from './inspect.ts';
import { corrupt, tooLarge } from './refusals.ts';
import { type Region, readRegion } from './region.ts';
import { type PackedBlock, unpackBlocks } from './unpack.ts';
import type { ToolLimits } from './xz.ts';

const fragmentBytes = 16;

/** Part of a file that one block of the file system holds. */
export interface ContentPart {
  /** Place of the block in the file system, and its size with the bit of blocks that are stored; 0 for a hole. */
  readonly start: number;
  readonly size: number;
  /** Place and length in the file. */
  readonly at: number;
  readonly length: number;
  /** Place in the unpacked block. */
  readonly from: number;
}

/** The parts of an inspected file, in their order. */
export function* contentParts({ superblock, tables }: Tree, file: FileInode): Generator<ContentPart> {
  const { blockSizeBytes } = superblock;
  let start = file.start;
  for (let index = 0; index < file.blockCount; index++) {
    const size = tables.inodes.bytes.readUInt32LE(file.blockList + 4 * index);
    const at = index * blockSizeBytes;
    yield { start, size, at, length: Math.min(blockSizeBytes, file.sizeBytes - at), from: 0 };
    start += size % storedBlock;
  }
  const length = file.sizeBytes % blockSizeBytes;
  if (file.fragment === null || length === 0) return;
  const record = file.fragment * fragmentBytes;
  yield {
    start: readLittle(tables.fragments, record),
    size: tables.fragments.readUInt32LE(record + 8),
    ...{ at: file.sizeBytes - length, length, from: file.fragmentOffset },
  };
}

/** The block of a part, as it lies in the file system. */
export async function readPacked(region: Region, { start, size }: ContentPart): Promise<PackedBlock> {
  return { bytes: await readRegion(region, start, size % storedBlock), stored: size >= storedBlock };
}

/** The bytes of a part in its unpacked block. Throws `image.corrupt` where the block is too short. */
export function cutPart(block: Buffer | undefined, { from, length }: ContentPart): Buffer {
  if (block === undefined || block.length < from + length) throw corrupt('a block of a file is cut off');
  return block.subarray(from, from + length);
}

/**
 * Reads one file whole. Throws `image.too_large` where it has more than `maximumBytes`, `image.corrupt` where a block
 * cannot be unpacked to its length, or the reason of the signal.
 */
export async function readContent(
  region: Region,
  tree: Tree,
  file: FileInode,
  maximumBytes: number,
  limits: ToolLimits,
): Promise<Buffer> {
  if (file.sizeBytes > maximumBytes) {
    throw tooLarge(`file ${file.number} has ${file.sizeBytes} bytes, more than ${maximumBytes}`);
  }
  const { blockSizeBytes, compressor } = tree.superblock;
  const parts = [...contentParts(tree, file)].filter(({ size }) => size > 0);
  const packed: PackedBlock[] = [];
  for (const part of parts) {
    limits.signal.throwIfAborted();
    packed.push(await readPacked(region, part));
  }
  // Holes stay zero.
  const content = Buffer.alloc(file.sizeBytes);
  const blocks = await unpackBlocks(packed, compressor, blockSizeBytes, limits);
  for (const [index, part] of parts.entries()) cutPart(blocks[index], part).copy(content, part.at);
  return content;
}
