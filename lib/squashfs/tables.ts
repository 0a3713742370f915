import { readLittle } from '../image/read-at.ts';
import { corrupt, tooLarge } from './refusals.ts';
import { metadataBytes, type Reference, type Superblock } from './superblock.ts';
import { type PackedBlock, unpackBlocks } from './unpack.ts';
import type { ToolLimits } from './xz.ts';

/**
 * The tables of metadata, all of which lie behind the data: inodes, directories, fragments, export, ids, attributes.
 * Each consists of blocks of 8 KiB, the last may be shorter. Behind the blocks of the last four lies a list of their
 * places, which ends where the next table begins; the kernel refuses everything else, and so does this.
 */
export interface Tables {
  readonly inodes: Table;
  readonly directories: Table;
  /** 16 bytes each: start, size, unused. */
  readonly fragments: Buffer;
  /** 4 bytes each. */
  readonly ids: Buffer;
  /** Null where no entry has extended attributes. */
  readonly attributes: {
    readonly pairs: Table;
    /** 16 bytes each: reference, count, size. */
    readonly sets: Buffer;
    readonly count: number;
  } | null;
}

/** The unpacked content of a table to which references lead. */
export interface Table {
  readonly bytes: Buffer;
  /** The place in `bytes`. Throws `image.corrupt` where the reference leads to nothing. */
  position(reference: Reference): number;
}

/** Where the blocks of a table lie in the tail of the file. */
interface Extent {
  readonly from: number;
  readonly to: number;
}

/** A list of places and its blocks. */
interface Listed extends Extent {
  /** Places of the blocks that the list has. */
  readonly places: readonly number[];
}

const recordBytes = { fragment: 16, id: 4, export: 8, attributeSet: 16 } as const;
const attributeHeaderBytes = 16;
/** Least size of an inode: that of a FIFO or socket. */
const leastInodeBytes = 20;

/**
 * Reads all tables. `tail` are the bytes from the inode table to the end of the file system; unpacked tables may have
 * `maximumBytes` together. Throws `image.corrupt`, `image.too_large`, or the reason of the signal.
 */
export async function readTables(
  superblock: Superblock,
  tail: Buffer,
  maximumBytes: number,
  limits: ToolLimits,
): Promise<Tables> {
  const extents = findExtents(superblock, tail);
  const walk = (extent: Extent) => walkBlocks(tail, superblock.inodeTable, extent);
  const parts = {
    inodes: walk(extents.inodes),
    directories: walk(extents.directories),
    fragments: walk(extents.fragments),
    ids: walk(extents.ids),
    pairs: walk(extents.pairs),
    sets: walk(extents.sets),
  };
  // Only NFS reads the export table.
  checkPlaces('export', extents.exports, walk(extents.exports));
  for (const name of ['fragments', 'ids', 'sets'] as const) checkPlaces(name, extents[name], parts[name]);
  const all = Object.values(parts).flatMap(({ blocks }) => blocks);
  if (all.length * metadataBytes > maximumBytes) throw tooLarge(`its tables have more than ${maximumBytes} bytes`);
  const unpacked = await unpackBlocks(all, superblock.compressor, metadataBytes, limits);
  let next = 0;
  const take = (name: keyof typeof parts) => {
    const count = parts[name].blocks.length;
    next += count;
    return joinBlocks(name, unpacked.slice(next - count, next));
  };
  const table = (name: keyof typeof parts): Table => createTable(name, take(name), parts[name].starts);
  const records = (name: keyof typeof parts, count: number, size: number): Buffer => {
    const bytes = take(name);
    if (bytes.length !== count * size) throw corrupt(`its table of ${name} has ${bytes.length} bytes`);
    return bytes;
  };
  const tables = {
    inodes: table('inodes'),
    directories: table('directories'),
    fragments: records('fragments', superblock.fragmentCount, recordBytes.fragment),
    ids: records('ids', superblock.idCount, recordBytes.id),
  };
  const pairs = table('pairs');
  const sets = records('sets', extents.setCount, recordBytes.attributeSet);
  if (superblock.inodeCount * leastInodeBytes > tables.inodes.bytes.length) {
    throw corrupt(`it claims ${superblock.inodeCount} inodes, more than its table can hold`);
  }
  return {
    ...tables,
    attributes: superblock.attributeTable === null ? null : { pairs, sets, count: extents.setCount },
  };
}

/** Finds the tables from the last to the first, as the kernel does. */
function findExtents(superblock: Superblock, tail: Buffer) {
  const none = (at: number): Listed => ({ from: at, to: at, places: [] });
  const list = (name: string, at: number | null, count: number, size: number, end: number): Listed => {
    const blocks = Math.ceil((count * size) / metadataBytes);
    const from = superblock.inodeTable;
    if (at === null || at + 8 * blocks !== end || at < from) {
      throw corrupt(`its table of ${name} does not end where the next begins`);
    }
    const places = Array.from({ length: blocks }, (_, index) => readLittle(tail, at - from + 8 * index));
    const first = places[0] ?? at;
    if (first < from || first > at) throw corrupt(`its table of ${name} begins outside of its place`);
    return { from: first, to: at, places };
  };
  let end = superblock.usedBytes;
  let setCount = 0;
  let sets = none(end);
  let pairs = none(end);
  const { attributeTable, inodeTable } = superblock;
  if (attributeTable !== null) {
    const at = attributeTable - inodeTable;
    if (at < 0 || at + attributeHeaderBytes > tail.length) throw corrupt('its table of attributes is outside of it');
    setCount = tail.readUInt32LE(at + 8);
    if (setCount === 0) throw corrupt('its table of attributes is empty');
    const listed = list('attributes', attributeTable + attributeHeaderBytes, setCount, recordBytes.attributeSet, end);
    // The header lies between the blocks and the list of their places.
    sets = { ...listed, to: attributeTable };
    end = readLittle(tail, at);
    if (end < inodeTable || end > sets.from) throw corrupt('its attributes begin outside of their place');
    pairs = { from: end, to: sets.from, places: [] };
  }
  const ids = list('ids', superblock.idTable, superblock.idCount, recordBytes.id, end);
  const { exportTable, fragmentCount, fragmentTable, directoryTable } = superblock;
  const exports =
    exportTable === null
      ? none(ids.from)
      : list('export', exportTable, superblock.inodeCount, recordBytes.export, ids.from);
  const fragments =
    fragmentCount === 0
      ? none(exports.from)
      : list('fragments', fragmentTable, fragmentCount, recordBytes.fragment, exports.from);
  if (directoryTable <= inodeTable || directoryTable > fragments.from) {
    throw corrupt('its table of directories is not between those of inodes and fragments');
  }
  const inodes: Extent = { from: inodeTable, to: directoryTable };
  const directories: Extent = { from: directoryTable, to: fragments.from };
  return { inodes, directories, fragments, exports, ids, pairs, sets, setCount };
}

/** Blocks of a table, and their places from its start on. */
interface Walked {
  readonly blocks: readonly PackedBlock[];
  readonly starts: readonly number[];
}

function walkBlocks(tail: Buffer, tailStart: number, { from, to }: Extent): Walked {
  const blocks: PackedBlock[] = [];
  const starts: number[] = [];
  let at = from - tailStart;
  const end = to - tailStart;
  while (at < end) {
    const header = at + 2 <= end ? tail.readUInt16LE(at) : 0;
    const length = header & 0x7fff;
    if (length === 0 || length > metadataBytes || at + 2 + length > end) {
      throw corrupt(`a block of metadata at byte ${tailStart + at} does not fit in its table`);
    }
    blocks.push({ bytes: tail.subarray(at + 2, at + 2 + length), stored: (header & 0x8000) !== 0 });
    starts.push(at + tailStart - from);
    at += 2 + length;
  }
  return { blocks, starts };
}

function checkPlaces(name: string, { from, places }: Listed, { starts }: Walked): void {
  if (places.length !== starts.length || starts.some((start, index) => places[index] !== from + start)) {
    throw corrupt(`the list of places of its table of ${name} is wrong`);
  }
}

function joinBlocks(name: string, blocks: readonly Buffer[]): Buffer {
  const short = blocks.findIndex((block) => block.length !== metadataBytes);
  if (short >= 0 && (short < blocks.length - 1 || blocks[short]?.length === 0)) {
    throw corrupt(`block ${short} of its table of ${name} has ${blocks[short]?.length ?? 0} bytes`);
  }
  return Buffer.concat(blocks);
}

function createTable(name: string, bytes: Buffer, starts: readonly number[]): Table {
  const indexes = new Map(starts.map((start, index) => [start, index]));
  return {
    bytes,
    position({ block, offset }) {
      const index = indexes.get(block);
      // A directory without entries may refer to the end of its table.
      if (index === undefined || offset >= metadataBytes || index * metadataBytes + offset >= bytes.length) {
        throw corrupt(`a reference to byte ${block}, ${offset} of its table of ${name} leads to nothing`);
      }
      return index * metadataBytes + offset;
    },
  };
}
