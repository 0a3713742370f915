import type { Entry } from '../entry.ts';
import type { FileInode } from '../inode.ts';
import type { Squashfs } from '../open.ts';
import { placeOfContent } from './contents.ts';

/** The entries of a file system in an order in which an archive can hold them. */
export interface Inventory {
  /** The root and all directories, each before those in it; then all that has no content. */
  readonly first: readonly Entry[];
  /** Files with content, in the order of their places. */
  readonly files: readonly { readonly path: string; readonly inode: FileInode }[];
  /** Further names of files, with the name that comes before them. */
  readonly links: readonly { readonly entry: Entry; readonly target: string }[];
}

/** The reason why no archive for mksquashfs can say everything about a file system; null where one can. */
export function whyNoArchive(squashfs: Squashfs): string | null {
  for (const { path, inode } of squashfs.entries()) {
    if (inode.type === 'socket') return `/${path} is a socket`;
  }
  return null;
}

export function takeInventory(squashfs: Squashfs): Inventory {
  const directories: Entry[] = [{ path: '', inode: squashfs.root }];
  const others: Entry[] = [];
  const files: { path: string; inode: FileInode; place: number }[] = [];
  const links: { entry: Entry; target: string }[] = [];
  const names = new Map<number, string>();
  for (const entry of squashfs.entries()) {
    const { path, inode } = entry;
    if (inode.type === 'directory') {
      directories.push(entry);
      continue;
    }
    const before = names.get(inode.number);
    if (before !== undefined) {
      links.push({ entry, target: before });
      continue;
    }
    if (inode.links > 1) names.set(inode.number, path);
    if (inode.type === 'file' && inode.sizeBytes > 0) {
      files.push({ path, inode, place: placeOfContent(squashfs, inode) });
    } else others.push(entry);
  }
  files.sort((one, other) => one.place - other.place || one.inode.fragmentOffset - other.inode.fragmentOffset);
  return { first: [...directories, ...others], files, links };
}
