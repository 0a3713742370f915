import { ImageBuilderError } from '../errors.ts';
import type { TreeMember } from './member.ts';
import { mostLinks, type Node } from './tree.ts';

/** Inodes of ext4, and what they say about the place of a content: Linux, Documentation/filesystems/ext4. */

export const blockBytes = 4096;
export const inodeBytes = 256;
/** Fields of an inode in use: 128 bytes, and 32 more. */
const extraBytes = 32;
const fieldBytes = 128 + extraBytes;
/** Room for attributes behind the fields. */
export const attributeBytes = inodeBytes - fieldBytes;

/** Blocks that one extent can have, and extents that fit into the inode. */
const extentBlocks = 32_768;
const insideExtents = 4;
const extentsPerBlock = Math.floor(blockBytes / 12) - 1;
const usesExtents = 0x8_0000;
const extentMagic = 0xf30a;

/**
 * Time of the last change of every inode, in seconds since 1970. Nobody can set this time, so that a file with another one
 * has been changed since.
 */
export const untouchedSeconds = 1;

/** Targets of symbolic links of fewer bytes lie in the inode itself. */
const insideTargetBytes = 60;

export const fileTypes: Readonly<Record<Exclude<TreeMember['type'], 'link'>, { entry: number; mode: number }>> = {
  file: { entry: 1, mode: 0o10_0000 },
  directory: { entry: 2, mode: 0o4_0000 },
  character: { entry: 3, mode: 0o2_0000 },
  block: { entry: 4, mode: 0o6_0000 },
  fifo: { entry: 5, mode: 0o1_0000 },
  symlink: { entry: 7, mode: 0o12_0000 },
};

/** Blocks that follow one another. */
export interface Run {
  readonly start: number;
  readonly count: number;
}

/** The place of a member's content: none for devices, and for symbolic links with short targets. */
export interface Placed {
  readonly sizeBytes: number;
  readonly content: Run | null;
  /** Blocks of further extents; none where the inode has room for all. */
  readonly indexes: Run;
  readonly attributeBlock: number | null;
  readonly attributes: Buffer | null;
}

/** Whether blocks hold a member's content. */
export function hasBlocks({ type, target }: TreeMember): boolean {
  return type === 'file' || type === 'directory' || (type === 'symlink' && target.length >= insideTargetBytes);
}

/** Writes an inode to `room`, which is zero so far. */
export function writeInode(room: Buffer, { member, links, entries }: Node, placed: Placed): void {
  const { mode, uid, gid, type } = member;
  if (type === 'link') throw new ImageBuilderError('internal', 'a hard link has no inode of its own');
  const { content, indexes, sizeBytes, attributeBlock } = placed;
  room.writeUInt16LE(fileTypes[type].mode | mode, 0);
  room.writeUInt16LE(uid & 0xffff, 2);
  room.writeUInt32LE(sizeBytes % 2 ** 32, 4);
  room.writeUInt32LE(Math.floor(sizeBytes / 2 ** 32), 108);
  const modified = encodeTime(member.modified);
  const untouched = encodeTime(untouchedSeconds);
  for (const [at, extraAt, time] of [
    [8, 140, modified],
    [12, 132, untouched],
    [16, 136, modified],
    [144, 148, untouched],
  ] as const) {
    room.writeUInt32LE(time.seconds, at);
    room.writeUInt32LE(time.extra, extraAt);
  }
  room.writeUInt16LE(gid & 0xffff, 24);
  // A folder of more subfolders counts none of its names.
  room.writeUInt16LE(entries !== null && links > mostLinks ? 1 : links, 26);
  const blocks = (content?.count ?? 0) + indexes.count + (attributeBlock === null ? 0 : 1);
  const sectors = blocks * (blockBytes / 512);
  room.writeUInt32LE(sectors % 2 ** 32, 28);
  room.writeUInt16LE(Math.floor(sectors / 2 ** 32), 116);
  room.writeUInt32LE(attributeBlock ?? 0, 104);
  room.writeUInt16LE(Math.floor(uid / 2 ** 16), 120);
  room.writeUInt16LE(Math.floor(gid / 2 ** 16), 122);
  room.writeUInt16LE(extraBytes, 128);
  placed.attributes?.copy(room, fieldBytes);
  writePlace(room.subarray(40, 100), member, placed);
  if (hasBlocks(member)) room.writeUInt32LE(usesExtents, 32);
}

/** The 60 bytes for the place of a content, or for what an inode has instead of one. */
function writePlace(room: Buffer, member: TreeMember, { content, indexes }: Placed): void {
  const { type, major, minor, target } = member;
  if (type === 'symlink' && content === null) {
    room.write(target, 'latin1');
  } else if (type === 'character' || type === 'block') {
    // As in linux/kdev_t.h: the old form, or the new one.
    if (major < 256 && minor < 256) room.writeUInt32LE((major << 8) | minor, 0);
    else room.writeUInt32LE(((minor & 0xff) | (major << 8) | ((minor & 0xf_ff00) << 12)) >>> 0, 4);
  } else if (type !== 'fifo') {
    const entries = indexes.count > 0 ? indexEntries(indexes) : extentsOf(content).map(renderExtent);
    writeExtentHeader(room, entries.length, insideExtents, indexes.count > 0 ? 1 : 0);
    for (const [index, entry] of entries.entries()) entry.copy(room, 12 + 12 * index);
  }
}

/** The content of the blocks of further extents; empty where the inode has room for all. */
export function renderIndexes(content: Run | null): Buffer {
  const extents = extentsOf(content);
  const count = extents.length <= insideExtents ? 0 : Math.ceil(extents.length / extentsPerBlock);
  const blocks = Buffer.alloc(count * blockBytes);
  for (let index = 0; index < count; index += 1) {
    const block = blocks.subarray(index * blockBytes, (index + 1) * blockBytes);
    const own = extents.slice(index * extentsPerBlock, (index + 1) * extentsPerBlock);
    writeExtentHeader(block, own.length, extentsPerBlock, 0);
    for (const [place, extent] of own.entries()) renderExtent(extent).copy(block, 12 + 12 * place);
  }
  return blocks;
}

function writeExtentHeader(room: Buffer, entries: number, most: number, depth: number): void {
  room.writeUInt16LE(extentMagic, 0);
  room.writeUInt16LE(entries, 2);
  room.writeUInt16LE(most, 4);
  room.writeUInt16LE(depth, 6);
}

interface Extent extends Run {
  /** Its first block, counted in the file. */
  readonly first: number;
}

function extentsOf(content: Run | null): Extent[] {
  const { start, count } = content ?? { start: 0, count: 0 };
  return Array.from({ length: Math.ceil(count / extentBlocks) }, (_, index) => {
    const first = index * extentBlocks;
    return { first, start: start + first, count: Math.min(extentBlocks, count - first) };
  });
}

function renderExtent({ first, start, count }: Extent): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32LE(first, 0);
  bytes.writeUInt16LE(count, 4);
  bytes.writeUInt32LE(start, 8);
  return bytes;
}

/** Each of these entries of an inode leads to a block of extents. */
function indexEntries({ start, count }: Run): Buffer[] {
  return Array.from({ length: count }, (_, index) => {
    const bytes = Buffer.alloc(12);
    bytes.writeUInt32LE(index * extentsPerBlock * extentBlocks, 0);
    bytes.writeUInt32LE(start + index, 4);
    return bytes;
  });
}

/** Whole seconds with a sign in 32 bits; in the other field two more bits of them, and nanoseconds. */
function encodeTime(time: number): { seconds: number; extra: number } {
  const clamped = Math.min(Math.max(time, -(2 ** 31)), 2 ** 34 - 2 ** 31 - 1);
  const whole = Math.floor(clamped);
  const nanoseconds = Math.floor((clamped - whole) * 1e9);
  const low = ((whole + 2 ** 31) % 2 ** 32) - 2 ** 31;
  const epoch = Math.round((whole - low) / 2 ** 32);
  return { seconds: low >>> 0, extra: ((nanoseconds << 2) | epoch) >>> 0 };
}
