import { createHash, type Hash } from 'node:crypto';
import { attributesOf, type Entry } from '../entry.ts';
import type { Inode } from '../inode.ts';
import type { Squashfs } from '../open.ts';
import type { ToolLimits } from '../xz.ts';
import type { OnContent } from './archive.ts';
import { readContents } from './contents.ts';
import { takeInventory } from './inventory.ts';

const digestBytes = 32;

/** Digests of the content of files, by their numbers. */
export interface Digests {
  readonly onContent: OnContent;
  of(number: number): Buffer;
}

export function createDigests({ superblock }: Squashfs): Digests {
  const table = Buffer.alloc(digestBytes * (superblock.inodeCount + 1));
  let hash: Hash | null = null;
  return {
    onContent(number, bytes) {
      hash ??= createHash('sha256');
      if (bytes !== null) hash.update(bytes);
      else {
        hash.digest().copy(table, digestBytes * number);
        hash = null;
      }
    },
    of: (number) => table.subarray(digestBytes * number, digestBytes * (number + 1)),
  };
}

/**
 * Compares two file systems: names, types, modes, owners, times, links, targets, devices, attributes, and the content by
 * its digests. Returns the first difference, for people, or null. Throws as `readContents` does.
 */
export async function findDifference(
  wanted: Squashfs,
  digests: Digests,
  made: Squashfs,
  limits: ToolLimits,
  onBytes: (bytes: number) => void,
): Promise<string | null> {
  const found = compareTrees(wanted, made, limits.signal);
  if (typeof found === 'string') return found;
  const { files } = takeInventory(made);
  const own = createDigests(made);
  let [next, left] = [0, 0];
  for await (const { file, bytes } of readContents(
    made,
    files.map(({ inode }) => inode),
    limits,
  )) {
    if (left === 0) left = file.sizeBytes;
    left -= bytes.length;
    own.onContent(file.number, bytes);
    onBytes(bytes.length);
    if (left > 0) continue;
    own.onContent(file.number, null);
    const path = files[next]?.path ?? '';
    next += 1;
    if (!own.of(file.number).equals(digests.of(found[file.number] ?? 0))) return `/${path} has other content`;
  }
  return null;
}

/** The numbers of the wanted inodes by those of the made ones, or a difference. */
function compareTrees(wanted: Squashfs, made: Squashfs, signal: AbortSignal): Uint32Array | string {
  const numbers = new Uint32Array(made.superblock.inodeCount + 1);
  const backwards = new Uint32Array(wanted.superblock.inodeCount + 1);
  const rootDifference = differenceOf(wanted, made, wanted.root, made.root);
  if (rootDifference !== null) return `the root has ${rootDifference}`;
  const others = made.entries();
  for (const entry of wanted.entries()) {
    signal.throwIfAborted();
    const { value: other } = others.next() as IteratorResult<Entry, undefined>;
    if (other?.path !== entry.path) return `/${entry.path} is missing`;
    const [one, two] = [entry.inode, other.inode];
    const difference = differenceOf(wanted, made, one, two);
    if (difference !== null) return `/${entry.path} has ${difference}`;
    if (numbers[two.number] === 0 && backwards[one.number] === 0) {
      numbers[two.number] = one.number;
      backwards[one.number] = two.number;
    }
    if (numbers[two.number] !== one.number || backwards[one.number] !== two.number) {
      return `/${entry.path} is a link to another file`;
    }
  }
  const { value: more } = others.next() as IteratorResult<Entry, undefined>;
  return more === undefined ? numbers : `/${more.path} was added`;
}

function differenceOf(wanted: Squashfs, made: Squashfs, one: Inode, two: Inode): string | null {
  if (one.type !== two.type) return 'another type';
  if (one.mode !== two.mode) return 'another mode';
  if (one.uid !== two.uid || one.gid !== two.gid) return 'another owner';
  if (one.modifiedSeconds !== two.modifiedSeconds) return 'another time';
  if (one.type !== 'directory' && one.links !== two.links) return 'another number of names';
  if (one.type === 'file' && two.type === 'file' && one.sizeBytes !== two.sizeBytes) return 'another size';
  if (one.type === 'symlink' && two.type === 'symlink' && one.target !== two.target) return 'another target';
  if ('device' in one && 'device' in two && one.device !== two.device) return 'another device';
  const theirs = new Map(attributesOf(wanted, one).map(({ name, value }) => [name, value]));
  const own = attributesOf(made, two);
  const isSame = own.length === theirs.size && own.every(({ name, value }) => theirs.get(name)?.equals(value) === true);
  return isSame ? null : 'other attributes';
}
