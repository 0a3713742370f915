import type { DirectoryInode, FileType } from './inode.ts';
import { fileTypes } from './inode.ts';
import { corrupt, unsafe } from './refusals.ts';
import type { Reference } from './superblock.ts';
import type { Tables } from './tables.ts';

/** One line of a directory. */
export interface ListedName {
  /** Each character is one byte: names are not always UTF-8. */
  readonly name: string;
  readonly type: FileType;
  readonly inodeNumber: number;
  readonly reference: Reference;
  /** Place of the inode in its unpacked table. */
  readonly inodePosition: number;
}

const headerBytes = 12;
const entryBytes = 8;
const maximumRun = 256;
const maximumNameBytes = 255;

/**
 * Reads the names of a directory, in the order of their bytes. Throws `image.corrupt`, or `image.unsafe` for names that
 * lead out of the directory.
 */
export function* parseListing(tables: Tables, directory: DirectoryInode): Generator<ListedName, void, undefined> {
  if (directory.listingBytes === 0) return;
  const { bytes } = tables.directories;
  let at = tables.directories.position(directory.listing);
  const end = at + directory.listingBytes;
  if (end > bytes.length) throw corrupt(`the listing of directory ${directory.number} is cut off`);
  let previous = '';
  while (at < end) {
    if (at + headerBytes > end) throw corrupt(`the listing of directory ${directory.number} is cut off`);
    const count = bytes.readUInt32LE(at) + 1;
    if (count > maximumRun) throw corrupt(`directory ${directory.number} lists ${count} names behind one header`);
    const block = bytes.readUInt32LE(at + 4);
    const firstNumber = bytes.readUInt32LE(at + 8);
    at += headerBytes;
    for (let index = 0; index < count; index++) {
      const nameBytes = at + entryBytes <= end ? bytes.readUInt16LE(at + 6) + 1 : Number.POSITIVE_INFINITY;
      if (nameBytes > maximumNameBytes + 1 || at + entryBytes + nameBytes > end) {
        throw corrupt(`a name in directory ${directory.number} is cut off or too long`);
      }
      const type = fileTypes[bytes.readUInt16LE(at + 4) - 1];
      if (type === undefined) throw corrupt(`a name in directory ${directory.number} has no type`);
      const name = bytes.toString('latin1', at + entryBytes, at + entryBytes + nameBytes);
      checkName(name, previous, directory.number);
      previous = name;
      const reference = { block, offset: bytes.readUInt16LE(at) };
      const inodePosition = tables.inodes.position(reference);
      yield { name, type, inodeNumber: firstNumber + bytes.readInt16LE(at + 2), reference, inodePosition };
      at += entryBytes + nameBytes;
    }
  }
}

function checkName(name: string, previous: string, directory: number): void {
  if (name === '.' || name === '..' || name.includes('/') || name.includes('\0')) {
    throw unsafe(`directory ${directory} has the name ${JSON.stringify(name)}`);
  }
  if (name.length > maximumNameBytes) throw corrupt(`a name in directory ${directory} is too long`);
  if (name === previous) throw unsafe(`directory ${directory} has the name ${JSON.stringify(name)} twice`);
  if (name < previous) throw corrupt(`the names of directory ${directory} are not in order`);
}
