import { setImmediate } from 'node:timers/promises';
import { usedBytesOf } from '../inspect.ts';
import type { Squashfs } from '../open.ts';
import { tooLarge } from '../refusals.ts';
import { type AttributeWriter, createAttributeWriter } from './attribute-writer.ts';
import { type Shift, writeDirectory, writeInode } from './inode-writer.ts';
import { type WrittenName, writeListing } from './listing-writer.ts';
import {
  type Merged,
  type MergedDirectory,
  mergedChildren,
  mergedRoot,
  type Overlay,
  resultAttributes,
} from './overlay.ts';
import { createTableWriter, referenceOf, type TableWriter } from './table-writer.ts';

/** The tables of a result, unpacked. */
export interface WrittenTree {
  readonly inodes: TableWriter;
  readonly directories: TableWriter;
  readonly ids: readonly number[];
  readonly attributes: AttributeWriter;
  /** Reference to each inode, by its number less one. */
  readonly references: Float64Array;
  readonly inodeCount: number;
  /** Bytes that du(1) counts for all of it. */
  readonly usedBytes: number;
  /** Reference to the root. */
  readonly root: number;
}

export interface Layers extends Overlay {
  readonly base: Squashfs;
  readonly delta: Squashfs;
}

const mostIds = 0xffff;
/** Names that are read before other work of this process gets its turn. */
const namesAtOnce = 20_000;

/** How often each inode of both is in the result, by its number; directories are there once. */
interface Census {
  readonly links: Readonly<Record<Merged['from'], Uint32Array>>;
  readonly inodeCount: number;
}

/**
 * Writes the merged tree of both. `shift` is for what comes from the delta. Throws as `resultAttributes` does,
 * `image.too_large` for more ids of owners than SquashFS has numbers for, or the reason of the signal.
 */
export async function writeTree(layers: Layers, shift: Shift, signal: AbortSignal): Promise<WrittenTree> {
  const pace = createPace(signal);
  const { links, inodeCount } = await takeCensus(layers, pace);
  const inodes = createTableWriter();
  const directories = createTableWriter();
  const ids = createIds();
  const attributes = createAttributeWriter();
  const references = new Float64Array(inodeCount);
  const sets = createSetCache(layers, attributes);
  /** Number and place of each inode that has been written, by its number in the layer that it is from. */
  const numbers = { base: new Uint32Array(links.base.length), delta: new Uint32Array(links.delta.length) };
  const positions = { base: new Uint32Array(links.base.length), delta: new Uint32Array(links.delta.length) };
  let lastNumber = 0;
  let usedBytes = 0;
  const placeOf = (merged: Merged, number: number, linkCount: number) => ({
    ...{ number, links: linkCount },
    ...{ uidIndex: ids.indexOf(merged.inode.uid), gidIndex: ids.indexOf(merged.inode.gid) },
    attributes: sets(merged),
  });
  const writeFile = (merged: Merged): Omit<WrittenName, 'name'> => {
    const { from, inode } = merged;
    if (inode.type === 'directory') throw new TypeError('a directory is no file');
    const old = inode.number;
    if (numbers[from][old] === 0) {
      lastNumber += 1;
      usedBytes += usedBytesOf(inode);
      const place = placeOf(merged, lastNumber, links[from][old] ?? 1);
      const own = from === 'base' ? { bytes: 0, fragments: 0 } : shift;
      const position = writeInode(inodes, layers[from].tables, inode, place, own);
      numbers[from][old] = lastNumber;
      positions[from][old] = position;
      references[lastNumber - 1] = referenceOf(position);
    }
    return { type: inode.type, number: numbers[from][old] ?? 0, position: positions[from][old] ?? 0 };
  };
  /** Content comes before its directory: a listing has the places of its inodes. */
  const writeFolder = async (
    merged: Merged,
    directory: MergedDirectory,
    parentNumber: number,
  ): Promise<Omit<WrittenName, 'name'>> => {
    lastNumber += 1;
    usedBytes += usedBytesOf(merged.inode);
    const number = lastNumber;
    const children = [...mergedChildren(layers, directory)];
    await pace(children.length + 1);
    const written = new Map<string, Omit<WrittenName, 'name'>>();
    // The inodes of files lie side by side, not among those of the directories beside them.
    for (const { name, merged: child } of children) if (child.directory === null) written.set(name, writeFile(child));
    let subdirectories = 0;
    for (const { name, merged: child } of children) {
      if (child.directory === null) continue;
      subdirectories += 1;
      written.set(name, await writeFolder(child, child.directory, number));
    }
    const names = children.flatMap(({ name }) => {
      const found = written.get(name);
      return found === undefined ? [] : [{ name, ...found }];
    });
    const listingAt = directories.size;
    const index = writeListing(directories, names);
    const listing = { position: listingAt, lengthBytes: directories.size - listingAt, parentNumber, index };
    const position = writeDirectory(inodes, merged.inode, placeOf(merged, number, 2 + subdirectories), listing);
    references[number - 1] = referenceOf(position);
    return { type: 'directory', number, position };
  };
  const root = mergedRoot(layers);
  if (root.directory === null) throw new TypeError('the root is a directory');
  const { position } = await writeFolder(root, root.directory, inodeCount + 1);
  return {
    ...{ inodes, directories, ids: ids.list, attributes, references, inodeCount, usedBytes },
    root: referenceOf(position),
  };
}

async function takeCensus(layers: Layers, pace: (names: number) => Promise<void>): Promise<Census> {
  const links = {
    base: new Uint32Array(layers.base.superblock.inodeCount + 1),
    delta: new Uint32Array(layers.delta.superblock.inodeCount + 1),
  };
  let inodeCount = 1;
  const { directory: root } = mergedRoot(layers);
  const waiting = root === null ? [] : [root];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    let names = 1;
    for (const { merged } of mergedChildren(layers, next)) {
      names += 1;
      const counts = links[merged.from];
      const before = counts[merged.inode.number] ?? 0;
      if (before === 0) inodeCount += 1;
      counts[merged.inode.number] = before + 1;
      if (merged.directory !== null) waiting.push(merged.directory);
    }
    await pace(names);
  }
  return { links, inodeCount };
}

/** Lets other work of this process have its turn now and then, and throws the reason of the signal. */
function createPace(signal: AbortSignal): (names: number) => Promise<void> {
  let names = 0;
  return async (more) => {
    names += more;
    if (names < namesAtOnce) return;
    names = 0;
    await setImmediate();
    signal.throwIfAborted();
  };
}

function createIds() {
  const indexes = new Map<number, number>();
  return {
    get list() {
      return [...indexes.keys()];
    },
    indexOf(id: number): number {
      const known = indexes.get(id);
      if (known !== undefined) return known;
      if (indexes.size === mostIds) throw tooLarge(`its files have more than ${mostIds} owners`);
      indexes.set(id, indexes.size);
      return indexes.size - 1;
    },
  };
}

/** Sets of attributes are decoded and written once, however many inodes have them. */
function createSetCache(layers: Layers, writer: AttributeWriter): (merged: Merged) => number | null {
  const known = new Map<string, number | null>();
  return (merged) => {
    const opaque = merged.directory?.opaque === true;
    if (merged.inode.attributes === null && !opaque) return null;
    const key = `${merged.from} ${merged.inode.attributes} ${opaque}`;
    const before = known.get(key);
    if (before !== undefined) return before;
    const index = writer.add(resultAttributes(layers, merged));
    known.set(key, index);
    return index;
  };
}
