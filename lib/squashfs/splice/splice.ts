import { type FileHandle, open } from 'node:fs/promises';
import { copyRanges, type FileRange } from '../../image/copy-range.ts';
import { readLittle } from '../../image/read-at.ts';
import { writeAll } from '../../write-all.ts';
import { numberOf } from '../compressor.ts';
import type { Squashfs } from '../open.ts';
import { unsupported } from '../refusals.ts';
import type { Region } from '../region.ts';
import { metadataBytes, superblockBytes, superblockFlags } from '../superblock.ts';
import { createTableWriter, storedBlocks } from './table-writer.ts';
import { type Layers, type WrittenTree, writeTree } from './tree-writer.ts';

export interface SpliceOptions {
  /** True where no layer lies below the base: deletions then vanish, instead of hiding files of layers below. */
  readonly bottom: boolean;
  /** Leave a hole in the file in the place of the base's data, which the caller copies to where they are to stay. */
  readonly withoutBaseData?: boolean;
  readonly signal: AbortSignal;
}

export interface Spliced {
  readonly sizeBytes: number;
  readonly inodeCount: number;
  /** Bytes that du(1) counts for all of it, as those of `Squashfs` are counted. */
  readonly usedBytes: number;
}

const fragmentBytes = 16;
/** Loop devices and mksquashfs's own files end at such a boundary. */
const paddingBytes = 4096;

/**
 * Lays a delta over a base and writes the result to a new file: the compressed data of both as they are, behind them one
 * set of tables. The delta is an upper directory of overlayfs, packed with the same compressor and block size. Throws
 * `image.unsupported` for a delta that does not fit, `image.truncated` where a file has become shorter, or the reason of
 * the signal; the file is then left unfinished.
 */
export async function spliceSquashfs(
  base: Squashfs,
  delta: Squashfs,
  outputPath: string,
  { bottom, withoutBaseData, signal }: SpliceOptions,
): Promise<Spliced> {
  checkAlike(base, delta);
  const { inodeTable } = base.superblock;
  const deltaBytes = delta.superblock.inodeTable - delta.dataStart;
  const shift = { bytes: inodeTable - delta.dataStart, fragments: base.superblock.fragmentCount };
  const layers = { base, delta, bottom };
  const tree = await writeTree(layers, shift, signal);
  await using output = await open(outputPath, 'wx', 0o600);
  // The options of the compressor, behind a superblock that is replaced.
  await copyRanges([rangeOf(base.region, 0, base.dataStart)], output, 0, signal);
  if (withoutBaseData !== true) await copyRanges([dataOf(base)], output, base.dataStart, signal);
  await copyRanges([rangeOf(delta.region, delta.dataStart, deltaBytes)], output, inodeTable, signal);
  const sizeBytes = await writeTables(output, inodeTable + deltaBytes, layers, tree, shift.bytes);
  return { sizeBytes, inodeCount: tree.inodeCount, usedBytes: tree.usedBytes };
}

/** The data of a base: all between its head and its tables. They have the same place in each result. */
export function dataOf({ region, dataStart, superblock }: Squashfs): FileRange {
  return rangeOf(region, dataStart, superblock.inodeTable - dataStart);
}

function rangeOf({ handle, offset }: Region, start: number, sizeBytes: number): FileRange {
  return { handle, offsetBytes: offset + start, sizeBytes };
}

function checkAlike(base: Squashfs, delta: Squashfs): void {
  const [one, other] = [base.superblock, delta.superblock];
  if (one.compressor !== other.compressor) {
    throw unsupported(`its compressor is ${one.compressor}, that of the delta ${other.compressor}`);
  }
  if (one.blockSizeBytes !== other.blockSizeBytes) {
    throw unsupported(`its blocks have ${one.blockSizeBytes} bytes, those of the delta ${other.blockSizeBytes}`);
  }
  // The kernel reserves one dictionary for all blocks, by the options of the base.
  const [room, needed] = [base.options.dictionaryBytes, delta.options.dictionaryBytes];
  if (room !== null && needed !== null && needed > room) {
    throw unsupported(`its dictionary has ${room} bytes, that of the delta ${needed}`);
  }
}

/** Writes the tables from `start` on in the order that the kernel demands, then the superblock. */
async function writeTables(
  output: FileHandle,
  start: number,
  { base, delta }: Layers,
  tree: WrittenTree,
  shiftBytes: number,
): Promise<number> {
  let end = start;
  const put = async (bytes: Buffer): Promise<number> => {
    await writeAll(output, bytes, end);
    end += bytes.length;
    return end - bytes.length;
  };
  /** Writes blocks, then the list of their places behind `header`; returns the place of that. */
  const putListed = async (content: Buffer, header = Buffer.alloc(0)): Promise<number> => {
    const blocks = storedBlocks(content);
    const first = await put(blocks);
    const places = createTableWriter();
    for (let at = 0; at < content.length; at += metadataBytes) places.uint64(first + at + 2 * (at / metadataBytes));
    return await put(Buffer.concat([header, places.content()]));
  };
  const inodeTable = await put(storedBlocks(tree.inodes.content()));
  const directoryTable = await put(storedBlocks(tree.directories.content()));
  const fragments = mergeFragments(base, delta, shiftBytes);
  const fragmentTable = fragments.length === 0 ? null : await putListed(fragments);
  const isExportable = base.superblock.exportTable !== null;
  const exportTable = isExportable ? await putListed(exportContent(tree.references)) : null;
  const ids = createTableWriter();
  for (const id of tree.ids) ids.uint32(id);
  const idTable = await putListed(ids.content());
  const { pairs, sets, count } = tree.attributes;
  let attributeTable: number | null = null;
  if (count > 0) {
    const header = createTableWriter();
    header.uint64(await put(storedBlocks(pairs.content())));
    header.uint32(count);
    header.uint32(0);
    attributeTable = await putListed(sets.content(), Buffer.from(header.content()));
  }
  const usedBytes = end;
  const sizeBytes = Math.ceil(usedBytes / paddingBytes) * paddingBytes;
  await put(Buffer.alloc(sizeBytes - usedBytes));
  const superblock = renderSuperblock(base, delta, tree, {
    ...{ usedBytes, idTable, attributeTable, inodeTable, directoryTable, fragmentTable, exportTable },
    fragmentCount: fragments.length / fragmentBytes,
  });
  await writeAll(output, superblock, 0);
  return sizeBytes;
}

function exportContent(references: Float64Array): Buffer {
  const table = createTableWriter();
  for (const reference of references) table.uint64(reference);
  return table.content();
}

/** Those of the delta come behind those of the base. */
function mergeFragments(base: Squashfs, delta: Squashfs, shiftBytes: number): Buffer {
  const added = Buffer.from(delta.tables.fragments);
  for (let at = 0; at < added.length; at += fragmentBytes) {
    added.writeBigUInt64LE(BigInt(readLittle(added, at) + shiftBytes), at);
  }
  return Buffer.concat([base.tables.fragments, added]);
}

interface TablePlaces {
  readonly usedBytes: number;
  readonly idTable: number;
  readonly attributeTable: number | null;
  readonly inodeTable: number;
  readonly directoryTable: number;
  readonly fragmentTable: number | null;
  readonly exportTable: number | null;
  readonly fragmentCount: number;
}

function renderSuperblock(base: Squashfs, delta: Squashfs, tree: WrittenTree, places: TablePlaces): Buffer {
  const { superblock } = base;
  const table = createTableWriter();
  table.text('hsqs');
  table.uint32(tree.inodeCount);
  table.uint32(Math.max(superblock.modifiedSeconds, delta.superblock.modifiedSeconds));
  table.uint32(superblock.blockSizeBytes);
  table.uint32(places.fragmentCount);
  table.uint16(numberOf(superblock.compressor));
  table.uint16(Math.log2(superblock.blockSizeBytes));
  table.uint16(flagsOf(superblock.flags, places));
  table.uint16(tree.ids.length);
  table.uint16(4);
  table.uint16(0);
  table.uint64(tree.root);
  table.uint64(places.usedBytes);
  for (const place of [places.idTable, places.attributeTable]) putPlace(place);
  for (const place of [places.inodeTable, places.directoryTable]) table.uint64(place);
  for (const place of [places.fragmentTable, places.exportTable]) putPlace(place);
  if (table.size !== superblockBytes) throw new RangeError('a superblock has 96 bytes');
  return table.content();

  function putPlace(place: number | null): void {
    if (place === null) table.bytes(Buffer.alloc(8, 0xff));
    else table.uint64(place);
  }
}

function flagsOf(flags: number, { fragmentCount, attributeTable, exportTable }: TablePlaces): number {
  const { inodesStored, idsStored, attributesStored, noFragments, noAttributes, exportable } = superblockFlags;
  let result = flags | inodesStored | idsStored | attributesStored;
  if (fragmentCount > 0) result &= ~noFragments;
  if (attributeTable !== null) result &= ~noAttributes;
  return exportTable === null ? result & ~exportable : result | exportable;
}
