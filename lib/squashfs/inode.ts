import { readLittle } from '../image/read-at.ts';
import { corrupt } from './refusals.ts';
import { metadataBytes, type Reference } from './superblock.ts';
import type { Tables } from './tables.ts';

/** The types of files, in the order of their numbers in inodes and directories, from 1 on. */
export const fileTypes = ['directory', 'file', 'symlink', 'block', 'character', 'fifo', 'socket'] as const;
export type FileType = (typeof fileTypes)[number];

interface Common {
  /** Place of the inode in the unpacked table, and its length. */
  readonly position: number;
  readonly lengthBytes: number;
  /** From 1 on. Hard links of one file share it. */
  readonly number: number;
  /** Permissions with setuid, setgid and sticky: 12 bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly modifiedSeconds: number;
  readonly links: number;
  /** Which set of extended attributes; null for none. */
  readonly attributes: number | null;
}

export interface DirectoryInode extends Common {
  readonly type: 'directory';
  readonly listing: Reference;
  /** Bytes of the listing: 0 for an empty directory. */
  readonly listingBytes: number;
}

export interface FileInode extends Common {
  readonly type: 'file';
  readonly sizeBytes: number;
  /** Place of the first block of data in the file system. */
  readonly start: number;
  /** Bytes of blocks that are holes. */
  readonly sparseBytes: number;
  /** The fragment that holds the end of the file, null for none; and the place in its unpacked content. */
  readonly fragment: number | null;
  readonly fragmentOffset: number;
  /** Place in the unpacked table of the sizes of the blocks, four bytes each. */
  readonly blockList: number;
  readonly blockCount: number;
}

export interface SymlinkInode extends Common {
  readonly type: 'symlink';
  /** Each character is one byte. */
  readonly target: string;
}

export interface DeviceInode extends Common {
  readonly type: 'block' | 'character';
  /** As the kernel packs it; `deviceNumbers` of `lib/squashfs/entry.ts` reads it. */
  readonly device: number;
}

export interface PipeInode extends Common {
  readonly type: 'fifo' | 'socket';
}

export type Inode = DirectoryInode | FileInode | SymlinkInode | DeviceInode | PipeInode;

const headerBytes = 16;
const noFragment = 0xffffffff;
const noAttributes = 0xffffffff;
const maximumTargetBytes = 65_535;

/** Parts of the superblock that inodes depend on. */
interface Measures {
  readonly blockSizeBytes: number;
  readonly inodeCount: number;
}

/**
 * Reads the inode at a place of the unpacked table (squashfs_fs.h of the Linux kernel: basic and extended inodes). Throws
 * `image.corrupt`. Lists of blocks are not read; their length is checked.
 */
export function parseInode(tables: Tables, position: number, measures: Measures): Inode {
  const table = tables.inodes.bytes;
  const need = (length: number) => {
    if (position + length > table.length) throw corrupt('an inode is cut off');
  };
  need(headerBytes);
  const kind = table.readUInt16LE(position);
  const type = fileTypes[(kind - 1) % fileTypes.length];
  if (kind < 1 || kind > 2 * fileTypes.length || type === undefined) throw corrupt(`an inode has type ${kind}`);
  const isExtended = kind > fileTypes.length;
  const number = table.readUInt32LE(position + 12);
  if (number === 0 || number > measures.inodeCount) {
    throw corrupt(`an inode has number ${number}, of ${measures.inodeCount}`);
  }
  const common = {
    position,
    number,
    mode: table.readUInt16LE(position + 2) & 0o7777,
    uid: idAt(tables.ids, table.readUInt16LE(position + 4)),
    gid: idAt(tables.ids, table.readUInt16LE(position + 6)),
    modifiedSeconds: table.readUInt32LE(position + 8),
  };
  const at = position + headerBytes;
  const attributesAt = (offset: number): number | null => {
    if (!isExtended) return null;
    const index = table.readUInt32LE(at + offset);
    if (index === noAttributes) return null;
    if (index >= (tables.attributes?.count ?? 0)) throw corrupt(`inode ${number} has attributes that do not exist`);
    return index;
  };
  switch (type) {
    case 'directory': {
      const lengthBytes = headerBytes + (isExtended ? 24 : 16);
      need(lengthBytes);
      return { type, ...common, ...directoryAt(table, at, isExtended), lengthBytes, attributes: attributesAt(20) };
    }
    case 'file': {
      const fixed = headerBytes + (isExtended ? 40 : 16);
      need(fixed);
      const file = fileAt(table, at, isExtended);
      const whole = file.sizeBytes / measures.blockSizeBytes;
      const blockCount = file.fragment === null ? Math.ceil(whole) : Math.floor(whole);
      const lengthBytes = fixed + 4 * blockCount;
      if (position + lengthBytes > table.length) throw corrupt(`the list of blocks of inode ${number} is cut off`);
      const blockList = position + fixed;
      return { type, ...common, ...file, blockList, blockCount, lengthBytes, attributes: attributesAt(36) };
    }
    case 'symlink': {
      need(headerBytes + 8);
      const targetBytes = table.readUInt32LE(at + 4);
      if (targetBytes === 0 || targetBytes > maximumTargetBytes) {
        throw corrupt(`symbolic link ${number} has a target of ${targetBytes} bytes`);
      }
      const lengthBytes = headerBytes + 8 + targetBytes + (isExtended ? 4 : 0);
      need(lengthBytes);
      const target = table.toString('latin1', at + 8, at + 8 + targetBytes);
      if (target.includes('\0')) throw corrupt(`the target of symbolic link ${number} has a zero byte`);
      const attributes = attributesAt(8 + targetBytes);
      return { type, ...common, links: table.readUInt32LE(at), target, lengthBytes, attributes };
    }
    case 'block':
    case 'character': {
      const lengthBytes = headerBytes + (isExtended ? 12 : 8);
      need(lengthBytes);
      const device = table.readUInt32LE(at + 4);
      return { type, ...common, links: table.readUInt32LE(at), device, lengthBytes, attributes: attributesAt(8) };
    }
    case 'fifo':
    case 'socket': {
      const lengthBytes = headerBytes + (isExtended ? 8 : 4);
      need(lengthBytes);
      return { type, ...common, links: table.readUInt32LE(at), lengthBytes, attributes: attributesAt(4) };
    }
  }
}

function idAt(ids: Buffer, index: number): number {
  if (4 * index >= ids.length) throw corrupt(`an owner is number ${index} of ${ids.length / 4} ids`);
  return ids.readUInt32LE(4 * index);
}

function directoryAt(table: Buffer, at: number, isExtended: boolean) {
  // A listing counts three bytes for `.` and `..`, which it does not have.
  const place = isExtended
    ? { links: at, size: table.readUInt32LE(at + 4), block: at + 8, offset: at + 18 }
    : { links: at + 4, size: table.readUInt16LE(at + 8), block: at, offset: at + 10 };
  const offset = table.readUInt16LE(place.offset);
  if (offset > metadataBytes) throw corrupt(`a listing begins at byte ${offset} of a block`);
  return {
    links: table.readUInt32LE(place.links),
    listing: { block: table.readUInt32LE(place.block), offset },
    listingBytes: Math.max(0, place.size - 3),
  };
}

function fileAt(table: Buffer, at: number, isExtended: boolean) {
  const fragmentOf = (index: number) => (index === noFragment ? null : index);
  if (!isExtended) {
    return {
      start: table.readUInt32LE(at),
      fragment: fragmentOf(table.readUInt32LE(at + 4)),
      fragmentOffset: table.readUInt32LE(at + 8),
      sizeBytes: table.readUInt32LE(at + 12),
      sparseBytes: 0,
      links: 1,
    };
  }
  return {
    start: readLittle(table, at),
    sizeBytes: readLittle(table, at + 8),
    sparseBytes: readLittle(table, at + 16),
    links: table.readUInt32LE(at + 24),
    fragment: fragmentOf(table.readUInt32LE(at + 28)),
    fragmentOffset: table.readUInt32LE(at + 32),
  };
}
