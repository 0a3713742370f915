import { type Attribute, parseAttributes } from './attributes.ts';
import { type DirectoryInode, type Inode, parseInode } from './inode.ts';
import { parseListing } from './listing.ts';
import type { Superblock } from './superblock.ts';
import type { Tables } from './tables.ts';

/** Names and what they stand for, of a file system that has been inspected. */

export interface Entry {
  /** From the root on without a leading slash, empty for the root. Each character is one byte. */
  readonly path: string;
  readonly inode: Inode;
}

/** The numbers of a device, which squashfs holds as the kernel's `new_encode_dev` makes them. */
export function deviceNumbers(device: number): { readonly major: number; readonly minor: number } {
  return { major: (device >>> 8) & 0xfff, minor: (device & 0xff) | ((device >>> 12) & 0xfff00) };
}

/** The place of a whiteout in an overlay's upper directory: a character device 0, 0. */
export function isWhiteout(inode: Inode): boolean {
  return inode.type === 'character' && inode.device === 0;
}

/** A tree of which all inodes and directories have been checked. */
export interface Tree {
  readonly superblock: Superblock;
  readonly tables: Tables;
  readonly root: DirectoryInode;
}

/** The names in a directory with their inodes, in the order of the names' bytes. */
export function* childrenOf(tree: Tree, directory: DirectoryInode): Generator<{ name: string; inode: Inode }> {
  for (const { name, inodePosition } of parseListing(tree.tables, directory)) {
    yield { name, inode: parseInode(tree.tables, inodePosition, tree.superblock) };
  }
}

/** All entries but the root, each directory before its content, names in the order of their bytes. */
export function* entriesOf(tree: Tree, directory: DirectoryInode = tree.root, path = ''): Generator<Entry> {
  for (const { name, inode } of childrenOf(tree, directory)) {
    const entry = { path: path === '' ? name : `${path}/${name}`, inode };
    yield entry;
    if (inode.type === 'directory') yield* entriesOf(tree, inode, entry.path);
  }
}

/** The inode of a path such as `etc/os-release`; null where there is none. Symbolic links are not followed. */
export function findEntry(tree: Tree, path: string): Inode | null {
  let inode: Inode = tree.root;
  for (const part of Buffer.from(path).toString('latin1').split('/')) {
    if (part === '') continue;
    if (inode.type !== 'directory') return null;
    const found = childNamed(tree, inode, part);
    if (found === null) return null;
    inode = found;
  }
  return inode;
}

function childNamed(tree: Tree, directory: DirectoryInode, wanted: string): Inode | null {
  for (const { name, inodePosition } of parseListing(tree.tables, directory)) {
    if (name === wanted) return parseInode(tree.tables, inodePosition, tree.superblock);
    if (name > wanted) return null;
  }
  return null;
}

/** The extended attributes of an inode; empty for none. */
export function attributesOf({ tables }: Tree, inode: Inode): readonly Attribute[] {
  return inode.attributes === null ? [] : parseAttributes(tables, inode.attributes);
}
