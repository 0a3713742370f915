import { randomBytes } from 'node:crypto';
import { blockBytes, inodeBytes, untouchedSeconds } from './inode.ts';
import { firstNumber } from './tree.ts';

/**
 * The parts of an ext4 file system (Linux, Documentation/filesystems/ext4), all of them before the first content: the
 * superblock, the descriptors of the block groups, then the bitmaps and inode tables of all groups. It has no journal, no
 * checksums, and no copies of its superblock.
 */
export interface Layout {
  readonly blocks: number;
  readonly groups: number;
  readonly inodesPerGroup: number;
  /** Blocks of the first bitmap of blocks, one for each group; bitmaps of inodes and their tables follow. */
  readonly bitmapsAt: number;
  readonly inodeBitmapsAt: number;
  readonly tablesAt: number;
  /** Blocks of one group's table. */
  readonly tableBlocks: number;
  /** The first block for contents. */
  readonly contentAt: number;
}

const groupBlocks = 8 * blockBytes;
const descriptorBytes = 32;
const inodesPerBlock = blockBytes / inodeBytes;
/** A file for each so many bytes, beside those that are there: as mke2fs has it. */
const bytesPerFile = 16_384;

/** Room is divided so that further files find inodes. `files` are there already. */
export function planLayout(sizeBytes: number, files: number): Layout {
  const blocks = Math.floor(sizeBytes / blockBytes);
  const groups = Math.ceil(blocks / groupBlocks);
  const inodes = firstNumber + files + Math.ceil(sizeBytes / bytesPerFile);
  const tableBlocks = Math.ceil(Math.min(inodes / groups, groupBlocks) / inodesPerBlock);
  const bitmapsAt = 1 + Math.ceil((groups * descriptorBytes) / blockBytes);
  const inodeBitmapsAt = bitmapsAt + groups;
  const tablesAt = inodeBitmapsAt + groups;
  return {
    ...{ blocks, groups, bitmapsAt, inodeBitmapsAt, tablesAt, tableBlocks },
    inodesPerGroup: tableBlocks * inodesPerBlock,
    contentAt: tablesAt + groups * tableBlocks,
  };
}

/** The place of an inode, in bytes. */
export function inodeOffset({ tablesAt }: Layout, number: number): number {
  // The tables follow one another without a gap.
  return tablesAt * blockBytes + (number - 1) * inodeBytes;
}

/** The parts in use: the first so many blocks and inodes. */
export interface Usage {
  readonly blocks: number;
  readonly inodes: number;
  /** Numbers of the inodes of folders. */
  readonly folders: readonly number[];
}

/** The superblock, the descriptors and the bitmaps: the blocks before the inode tables. */
export function renderHead(layout: Layout, used: Usage): Buffer {
  const { groups, inodesPerGroup, bitmapsAt, inodeBitmapsAt, tablesAt, tableBlocks } = layout;
  const head = Buffer.alloc(tablesAt * blockBytes);
  writeSuperblock(head.subarray(1024, 2048), layout, used);
  const foldersIn = new Array<number>(groups).fill(0);
  for (const number of used.folders) {
    const group = Math.floor((number - 1) / inodesPerGroup);
    foldersIn[group] = (foldersIn[group] ?? 0) + 1;
  }
  for (let group = 0; group < groups; group += 1) {
    const own = Math.min(groupBlocks, layout.blocks - group * groupBlocks);
    const usedBlocks = clamp(used.blocks - group * groupBlocks, own);
    const usedInodes = clamp(used.inodes - group * inodesPerGroup, inodesPerGroup);
    const descriptor = head.subarray(blockBytes + group * descriptorBytes);
    descriptor.writeUInt32LE(bitmapsAt + group, 0);
    descriptor.writeUInt32LE(inodeBitmapsAt + group, 4);
    descriptor.writeUInt32LE(tablesAt + group * tableBlocks, 8);
    descriptor.writeUInt16LE(own - usedBlocks, 12);
    descriptor.writeUInt16LE(inodesPerGroup - usedInodes, 14);
    descriptor.writeUInt16LE(foldersIn[group] ?? 0, 16);
    const bitmap = (at: number) => head.subarray(at * blockBytes, (at + 1) * blockBytes);
    fillBitmap(bitmap(bitmapsAt + group), usedBlocks, own);
    fillBitmap(bitmap(inodeBitmapsAt + group), usedInodes, inodesPerGroup);
  }
  return head;
}

function clamp(value: number, most: number): number {
  return Math.min(Math.max(value, 0), most);
}

/** Sets the first bits, and those behind the last one that stands for something. */
function fillBitmap(bitmap: Buffer, used: number, total: number): void {
  for (const [from, to] of [
    [0, used],
    [total, 8 * blockBytes],
  ] as const) {
    let bit = from;
    for (; bit < to && bit % 8 !== 0; bit += 1)
      bitmap.writeUInt8(bitmap.readUInt8(bit >> 3) | (1 << (bit & 7)), bit >> 3);
    bitmap.fill(0xff, bit >> 3, Math.max(bit, to) >> 3);
    for (bit = Math.max(bit, to & ~7); bit < to; bit += 1) {
      bitmap.writeUInt8(bitmap.readUInt8(bit >> 3) | (1 << (bit & 7)), bit >> 3);
    }
  }
}

/** Features: attributes, folders with indexes, no copies of the superblock but in groups that are named (none). */
const compatible = 0x8 | 0x20 | 0x200;
/** Types of files in folders, extents, and parts of groups that lie elsewhere. */
const incompatible = 0x2 | 0x40 | 0x200;
/** Copies of the superblock in few groups, large files, folders with many subfolders, large inodes. */
const readOnlyCompatible = 0x1 | 0x2 | 0x20 | 0x40;

function writeSuperblock(block: Buffer, layout: Layout, used: Usage): void {
  const { blocks, groups, inodesPerGroup, contentAt } = layout;
  const inodes = groups * inodesPerGroup;
  const fields: readonly (readonly [offset: number, bytes: 1 | 2 | 4, value: number])[] = [
    [0, 4, inodes],
    [4, 4, blocks],
    [12, 4, blocks - used.blocks],
    [16, 4, inodes - used.inodes],
    // Blocks of 2 to the power of 10 + 2 bytes; so are clusters.
    [24, 4, 2],
    [28, 4, 2],
    [32, 4, groupBlocks],
    [36, 4, groupBlocks],
    [40, 4, inodesPerGroup],
    [48, 4, untouchedSeconds],
    // No check after a number of mounts.
    [54, 2, 0xffff],
    [56, 2, 0xef53],
    // Clean; after an error, mounted read-only.
    [58, 2, 1],
    [60, 2, 2],
    [64, 4, untouchedSeconds],
    // Linux, revision 1.
    [76, 4, 1],
    [84, 4, firstNumber],
    [88, 2, inodeBytes],
    [92, 4, compatible],
    [96, 4, incompatible],
    [100, 4, readOnlyCompatible],
    // Half MD4 for the indexes of folders, of unsigned characters.
    [252, 1, 1],
    [264, 4, untouchedSeconds],
    [348, 2, 32],
    [350, 2, 32],
    [352, 4, 2],
    [584, 4, contentAt],
  ];
  for (const [offset, bytes, value] of fields) block.writeUIntLE(value, offset, bytes);
  // The UUID, of version 4, and the seed of the indexes.
  randomBytes(16).copy(block, 104);
  block.writeUInt8((block.readUInt8(110) & 0x0f) | 0x40, 110);
  block.writeUInt8((block.readUInt8(112) & 0x3f) | 0x80, 112);
  randomBytes(16).copy(block, 236);
}
