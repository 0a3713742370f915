import { setImmediate } from 'node:timers/promises';
import { readLittle } from '../image/read-at.ts';
import { type DirectoryInode, type FileInode, type Inode, parseInode } from './inode.ts';
import { type ListedName, parseListing } from './listing.ts';
import { corrupt, tooLarge, unsafe } from './refusals.ts';
import type { Superblock } from './superblock.ts';
import type { Tables } from './tables.ts';

/** The check of all inodes and directories, before anything uses them. */

export interface TreeLimits {
  /** Most bytes that all files claim together, hard links counted once: a few KiB of metadata can claim TiB. */
  readonly maximumContentBytes: number;
  readonly maximumInodes: number;
}

/** Folders inside one another. */
const maximumDepth = 256;
/** PATH_MAX of Linux. */
const maximumPathBytes = 4096;
/** Directories and bytes of lists that are checked before other work of this process gets its turn. */
const directoriesAtOnce = 2000;
const fragmentBytes = 16;
/** Set in the size of a block that is stored as it is. */
export const storedBlock = 2 ** 24;

export interface Inspected {
  readonly root: DirectoryInode;
  /** Names in all directories. */
  readonly nameCount: number;
  /** Bytes of all files. */
  readonly contentBytes: number;
  readonly usedBytes: number;
}

/**
 * Walks the whole tree. `dataStart` is the end of the superblock and its options. The work is linear in the size of the
 * tables: neither inodes nor listings may overlap. Throws `image.corrupt`, `image.unsafe`, `image.too_large`, or the
 * reason of the signal.
 */
export async function inspectTree(
  superblock: Superblock,
  tables: Tables,
  dataStart: number,
  limits: TreeLimits,
  signal: AbortSignal,
): Promise<Inspected> {
  const { inodeCount } = superblock;
  if (inodeCount > limits.maximumInodes) {
    throw tooLarge(`it has ${inodeCount} inodes, more than ${limits.maximumInodes}`);
  }
  checkFragments(superblock, tables, dataStart);
  const register = createRegister(superblock, tables, dataStart, limits.maximumContentBytes);
  const root = parseInode(tables, tables.inodes.position(superblock.root), superblock);
  if (root.type !== 'directory') throw corrupt(`its root is a ${root.type}`);
  register.add(root);
  let listingBytes = 0;
  let nameCount = 0;
  const waiting = [{ directory: root, depth: 1, pathBytes: 0 }];
  for (let count = 1, next = waiting.pop(); next !== undefined; next = waiting.pop(), count++) {
    if (count % directoriesAtOnce === 0) await setImmediate();
    signal.throwIfAborted();
    const { directory, depth, pathBytes } = next;
    if (depth > maximumDepth) throw unsafe(`its directories are more than ${maximumDepth} deep`);
    listingBytes += directory.listingBytes;
    if (listingBytes > tables.directories.bytes.length) throw corrupt('its listings overlap each other');
    for (const listed of parseListing(tables, directory)) {
      nameCount += 1;
      const length = pathBytes + 1 + listed.name.length;
      if (length > maximumPathBytes) throw unsafe(`it has a path of more than ${maximumPathBytes} bytes`);
      const inode = register.meet(listed, directory.number);
      if (inode?.type === 'directory') waiting.push({ directory: inode, depth: depth + 1, pathBytes: length });
    }
  }
  return { root, nameCount, contentBytes: register.contentBytes, usedBytes: register.usedBytes };
}

/** The inodes met so far: no two have one number, and directories have one name. */
function createRegister(superblock: Superblock, tables: Tables, dataStart: number, maximumContentBytes: number) {
  /** Place of the inode with each number, plus one; 0 for those not met yet. */
  const places = new Uint32Array(superblock.inodeCount + 1);
  let inodeBytes = 0;
  let contentBytes = 0;
  let usedBytes = 0;
  const add = (inode: Inode) => {
    places[inode.number] = inode.position + 1;
    inodeBytes += inode.lengthBytes;
    if (inodeBytes > tables.inodes.bytes.length) throw corrupt('its inodes overlap each other');
    usedBytes += usedBytesOf(inode);
    if (inode.type !== 'file') return;
    contentBytes += inode.sizeBytes;
    if (contentBytes > maximumContentBytes) throw tooLarge(`its files claim more than ${maximumContentBytes} bytes`);
    checkFile(superblock, tables, dataStart, inode);
  };
  return {
    get contentBytes() {
      return contentBytes;
    },
    get usedBytes() {
      return usedBytes;
    },
    add,
    /** Adds the inode of a name, unless it is one more name of a file; then it returns null. */
    meet({ name, type, inodeNumber, inodePosition }: ListedName, directory: number): Inode | null {
      const before = places[inodeNumber];
      if (before === inodePosition + 1 && type !== 'directory') return null;
      const inode = parseInode(tables, inodePosition, superblock);
      if (inode.number !== inodeNumber || inode.type !== type) {
        throw corrupt(`${JSON.stringify(name)} in directory ${directory} and its inode do not agree`);
      }
      if (before !== 0) {
        throw type === 'directory'
          ? unsafe(`directory ${inodeNumber} has several names, or contains itself`)
          : corrupt(`two inodes have the number ${inodeNumber}`);
      }
      add(inode);
      return inode;
    },
  };
}

const diskBlockBytes = 4096;
/** The longest target of a symbolic link that takes no block. */
const inlineTargetBytes = 59;

/** Bytes of an inode as ext4 stores it, in whole blocks. */
export function usedBytesOf(inode: Inode): number {
  if (inode.type === 'file') return Math.ceil((inode.sizeBytes - inode.sparseBytes) / diskBlockBytes) * diskBlockBytes;
  if (inode.type === 'symlink') return inode.target.length > inlineTargetBytes ? diskBlockBytes : 0;
  return inode.type === 'directory' ? diskBlockBytes : 0;
}

function checkFragments({ fragmentCount, blockSizeBytes, inodeTable }: Superblock, tables: Tables, dataStart: number) {
  for (let index = 0; index < fragmentCount; index++) {
    const start = readLittle(tables.fragments, index * fragmentBytes);
    const size = tables.fragments.readUInt32LE(index * fragmentBytes + 8);
    checkBlock(`fragment ${index}`, start, size, { blockSizeBytes, dataStart, dataEnd: inodeTable });
  }
}

/** The blocks of a file lie one behind another. */
function checkFile(
  { blockSizeBytes, inodeTable, fragmentCount }: Superblock,
  tables: Tables,
  dataStart: number,
  file: FileInode,
) {
  const name = `a block of file ${file.number}`;
  const bounds = { blockSizeBytes, dataStart, dataEnd: inodeTable };
  let at = file.start;
  for (let index = 0; index < file.blockCount; index++) {
    const size = tables.inodes.bytes.readUInt32LE(file.blockList + 4 * index);
    if (size === 0) continue;
    at = checkBlock(name, at, size, bounds);
  }
  if (file.sparseBytes > file.sizeBytes) throw corrupt(`file ${file.number} has more holes than bytes`);
  if (file.fragment === null) return;
  if (file.fragment >= fragmentCount) throw corrupt(`file ${file.number} ends in a fragment that does not exist`);
  if (file.fragmentOffset + (file.sizeBytes % blockSizeBytes) > blockSizeBytes) {
    throw corrupt(`file ${file.number} ends outside of its fragment`);
  }
}

interface Bounds {
  readonly blockSizeBytes: number;
  readonly dataStart: number;
  readonly dataEnd: number;
}

/** The end of a block of data. */
function checkBlock(name: string, start: number, size: number, { blockSizeBytes, dataStart, dataEnd }: Bounds): number {
  const length = size % storedBlock;
  if (size >= 2 * storedBlock || length > blockSizeBytes) throw corrupt(`${name} has the size ${size}`);
  if (start < dataStart || start + length > dataEnd) throw corrupt(`${name} is outside of the data`);
  return start + length;
}
