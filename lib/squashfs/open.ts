import { checkAttributes } from './attributes.ts';
import { type CompressorOptions, parseCompressorOptions } from './compressor.ts';
import { readContent } from './content.ts';
import { type Entry, entriesOf, findEntry, type Tree } from './entry.ts';
import type { FileInode, Inode } from './inode.ts';
import { inspectTree, type TreeLimits } from './inspect.ts';
import { corrupt, tooLarge } from './refusals.ts';
import { type Region, readRegion } from './region.ts';
import { parseSuperblock, type Superblock, superblockBytes, superblockFlags } from './superblock.ts';
import { readTables, type Tables } from './tables.ts';
import type { ToolLimits } from './xz.ts';

/** Limits of what an untrusted SquashFS may claim, and of the tools that read it. */
export interface SquashfsLimits extends TreeLimits, ToolLimits {
  /** Most bytes of its tables, packed and unpacked; they stay in memory. */
  readonly maximumTableBytes: number;
}

/** An inspected SquashFS. Its tables are in memory; its data are read from the region, which stays open. */
export interface Squashfs extends Tree {
  readonly region: Region;
  readonly options: CompressorOptions;
  /** Place of the first byte behind the superblock and the options of the compressor. */
  readonly dataStart: number;
  readonly nameCount: number;
  /** Bytes of all files, hard links counted once, holes counted whole. */
  readonly contentBytes: number;
  /** Bytes that du(1) counts for all of it on ext4: whole blocks, a directory one, hard links once, no holes. */
  readonly usedBytes: number;
  /** All entries but the root, each directory before its content. */
  entries(): Generator<Entry>;
  /** The inode of a path; null for none. Symbolic links are not followed. */
  find(path: string): Inode | null;
  /** One file whole, at most `maximumBytes` of it. Throws `image.too_large`, or `image.corrupt`. */
  read(file: FileInode, maximumBytes: number): Promise<Buffer>;
}

/**
 * Inspects an untrusted SquashFS 4.0 before any other tool opens it: the superblock, all tables, every inode and name.
 * Content of files is not unpacked. Throws `image.unsafe`, `image.unsupported`, `image.corrupt`, `image.truncated`,
 * `image.too_large`, or the reason of the signal.
 */
export async function openSquashfs(region: Region, limits: SquashfsLimits): Promise<Squashfs> {
  const head = await readRegion(region, 0, Math.min(region.length, superblockBytes));
  const superblock = parseSuperblock(head, region.length);
  const { optionBytes, dataStart } = await readOptions(region, superblock);
  const options = parseCompressorOptions(superblock.compressor, optionBytes, superblock.blockSizeBytes);
  const { inodeTable, usedBytes } = superblock;
  if (inodeTable < dataStart || inodeTable >= usedBytes) throw corrupt('its table of inodes is outside of it');
  const tailBytes = usedBytes - inodeTable;
  if (tailBytes > limits.maximumTableBytes) {
    throw tooLarge(`its tables take ${tailBytes} bytes, more than ${limits.maximumTableBytes}`);
  }
  const tail = await readRegion(region, inodeTable, tailBytes);
  const tables = await readTables(superblock, tail, limits.maximumTableBytes, limits);
  checkAttributes(tables);
  const inspected = await inspectTree(superblock, tables, dataStart, limits, limits.signal);
  const tree = { superblock, tables, root: inspected.root };
  return {
    ...{ region, options, dataStart, ...tree, ...inspected },
    entries: () => entriesOf(tree),
    find: (path) => findEntry(tree, path),
    read: (file, maximumBytes) => readContent(region, tree, file, maximumBytes, limits),
  };
}

/** The same file system in the same file, which was opened anew: it is not inspected again. */
export function reopenSquashfs(inspected: Squashfs, region: Region, limits: ToolLimits): Squashfs {
  const read: Squashfs['read'] = (file, maximumBytes) => readContent(region, inspected, file, maximumBytes, limits);
  return { ...inspected, region, read };
}

/** Options of the compressor are one block of metadata behind the superblock, stored as it is. */
async function readOptions(region: Region, { flags, usedBytes }: Superblock) {
  if ((flags & superblockFlags.compressorOptions) === 0) return { optionBytes: null, dataStart: superblockBytes };
  if (superblockBytes + 2 > usedBytes) throw corrupt('the options of its compressor are cut off');
  const header = (await readRegion(region, superblockBytes, 2)).readUInt16LE(0);
  const length = header & 0x7fff;
  const dataStart = superblockBytes + 2 + length;
  if ((header & 0x8000) === 0 || length > 64 || dataStart > usedBytes) {
    throw corrupt('the options of its compressor are damaged');
  }
  return { optionBytes: await readRegion(region, superblockBytes + 2, length), dataStart };
}

/** Bytes that the unpacked tables of a file system take in memory. */
export function tableBytes({ inodes, directories, fragments, ids, attributes }: Tables): number {
  const ofAttributes = attributes === null ? 0 : attributes.pairs.bytes.length + attributes.sets.length;
  return inodes.bytes.length + directories.bytes.length + fragments.length + ids.length + ofAttributes;
}
