import { fileTypes, type Inode } from '../inode.ts';
import type { Tables } from '../tables.ts';
import type { IndexEntry } from './listing-writer.ts';
import { blockOf, offsetOf, type TableWriter } from './table-writer.ts';

/** The parts of an inode that the result decides. */
export interface NewPlace {
  readonly number: number;
  readonly links: number;
  readonly uidIndex: number;
  readonly gidIndex: number;
  /** Null for none. */
  readonly attributes: number | null;
}

/** Added to the places of data and to the numbers of fragments of an inode that comes from the delta. */
export interface Shift {
  readonly bytes: number;
  readonly fragments: number;
}

export interface NewListing {
  /** Place in the unpacked table of directories, and length. */
  readonly position: number;
  readonly lengthBytes: number;
  readonly parentNumber: number;
  readonly index: readonly IndexEntry[];
}

const none = 0xffffffff;
const extended = fileTypes.length;
/** For `.` and `..`, which a listing counts and does not have. */
const dotsBytes = 3;

/** Writes a directory and returns its place in the unpacked table. */
export function writeDirectory(table: TableWriter, inode: Inode, place: NewPlace, listing: NewListing): number {
  const position = table.size;
  const size = listing.lengthBytes + dotsBytes;
  const isBasic = place.attributes === null && size <= 0xffff && listing.index.length === 0;
  writeHeader(table, inode, place, !isBasic);
  if (isBasic) {
    table.uint32(blockOf(listing.position));
    table.uint32(place.links);
    table.uint16(size);
    table.uint16(offsetOf(listing.position));
    table.uint32(listing.parentNumber);
    return position;
  }
  table.uint32(place.links);
  table.uint32(size);
  table.uint32(blockOf(listing.position));
  table.uint32(listing.parentNumber);
  table.uint16(listing.index.length);
  table.uint16(offsetOf(listing.position));
  table.uint32(place.attributes ?? none);
  for (const { at, block, name } of listing.index) {
    table.uint32(at);
    table.uint32(block);
    table.uint32(name.length - 1);
    table.text(name);
  }
  return position;
}

/** Writes an inode of any other type and returns its place in the unpacked table. `tables` are those that it is from. */
export function writeInode(
  table: TableWriter,
  tables: Tables,
  inode: Exclude<Inode, { readonly type: 'directory' }>,
  place: NewPlace,
  shift: Shift,
): number {
  const position = table.size;
  if (inode.type === 'file') {
    const hasData = inode.blockCount > 0;
    const start = hasData ? inode.start + shift.bytes : 0;
    const fragment = inode.fragment === null ? none : inode.fragment + shift.fragments;
    const isBasic =
      place.attributes === null &&
      place.links === 1 &&
      inode.sparseBytes === 0 &&
      start <= none &&
      inode.sizeBytes <= none;
    writeHeader(table, inode, place, !isBasic);
    if (isBasic) {
      for (const value of [start, fragment, inode.fragmentOffset, inode.sizeBytes]) table.uint32(value);
    } else {
      for (const value of [start, inode.sizeBytes, inode.sparseBytes]) table.uint64(value);
      for (const value of [place.links, fragment, inode.fragmentOffset, place.attributes ?? none]) table.uint32(value);
    }
    table.bytes(tables.inodes.bytes.subarray(inode.blockList, inode.blockList + 4 * inode.blockCount));
    return position;
  }
  const isExtended = place.attributes !== null;
  writeHeader(table, inode, place, isExtended);
  table.uint32(place.links);
  if (inode.type === 'symlink') {
    table.uint32(inode.target.length);
    table.text(inode.target);
  }
  if (inode.type === 'block' || inode.type === 'character') table.uint32(inode.device);
  if (place.attributes !== null) table.uint32(place.attributes);
  return position;
}

function writeHeader(table: TableWriter, inode: Inode, place: NewPlace, isExtended: boolean): void {
  table.uint16(fileTypes.indexOf(inode.type) + 1 + (isExtended ? extended : 0));
  table.uint16(inode.mode);
  table.uint16(place.uidIndex);
  table.uint16(place.gidIndex);
  table.uint32(inode.modifiedSeconds);
  table.uint32(place.number);
}
