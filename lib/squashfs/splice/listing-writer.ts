import { type FileType, fileTypes } from '../inode.ts';
import { metadataBytes } from '../superblock.ts';
import { blockOf, offsetOf, type TableWriter } from './table-writer.ts';

/** A name of the result whose inode has been written. */
export interface WrittenName {
  readonly name: string;
  readonly type: FileType;
  readonly number: number;
  /** Place of the inode in its unpacked table. */
  readonly position: number;
}

/** A place at which the search for a name may begin, so that the kernel need not read a large listing from its start. */
export interface IndexEntry {
  /** Place from the start of the listing. */
  readonly at: number;
  /** Place of its block in the written table. */
  readonly block: number;
  readonly name: string;
}

const maximumRun = 256;
const greatestDistance = 0x7fff;

/**
 * Writes the names of a directory, which come in the order of their bytes, in runs that share a block of inodes. Returns
 * the entries of its index: a run begins in each block of the table but the first.
 */
export function writeListing(table: TableWriter, names: readonly WrittenName[]): IndexEntry[] {
  const start = table.size;
  const index: IndexEntry[] = [];
  let lastBlock = blockOf(start);
  for (let at = 0; at < names.length; ) {
    const first = names[at];
    if (first === undefined) break;
    const headerAt = table.size;
    if (blockOf(headerAt) !== lastBlock) {
      lastBlock = blockOf(headerAt);
      index.push({ at: headerAt - start, block: lastBlock, name: first.name });
    }
    const count = runLength(names, at, metadataBytes - offsetOf(headerAt));
    table.uint32(count - 1);
    table.uint32(blockOf(first.position));
    table.uint32(first.number);
    for (const { name, type, number, position } of names.slice(at, at + count)) {
      table.uint16(offsetOf(position));
      table.int16(number - first.number);
      table.uint16(fileTypes.indexOf(type) + 1);
      table.uint16(name.length - 1);
      table.text(name);
    }
    at += count;
  }
  return index;
}

/** Names behind one header: those of one block of inodes, until the listing reaches its next block. */
function runLength(names: readonly WrittenName[], start: number, roomBytes: number): number {
  const first = names[start];
  if (first === undefined) return 0;
  let room = roomBytes - 12;
  let count = 0;
  for (; count < maximumRun; count++) {
    const next = names[start + count];
    if (next === undefined || blockOf(next.position) !== blockOf(first.position)) break;
    if (Math.abs(next.number - first.number) > greatestDistance || (count > 0 && room <= 0)) break;
    room -= 8 + next.name.length;
  }
  return count;
}
