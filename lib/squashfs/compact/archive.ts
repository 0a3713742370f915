import { endBytes, nameFieldBytes, padded, tarBlockBytes, typeFlags } from '../../tar/header.ts';
import { finishHeaders } from '../archive-headers.ts';
import { attributesOf, deviceNumbers, type Entry } from '../entry.ts';
import type { Squashfs } from '../open.ts';
import type { ToolLimits } from '../xz.ts';
import { readContents } from './contents.ts';
import type { Inventory } from './inventory.ts';

/** Called with a file's number and its content, piece by piece; null behind the last piece. */
export type OnContent = (number: number, bytes: Buffer | null) => void;

/** mksquashfs takes no owner, time and attributes of a root out of an archive, so the root is a directory in it. */
export const archivedRoot = 'root';

/**
 * Writes a file system as a tar archive for mksquashfs, in a directory `archivedRoot`: ustar with pax headers, attributes
 * as star writes them. Only for those that `whyNoArchive` lets through. Throws as `readContents` does.
 */
export async function* writeArchive(
  squashfs: Squashfs,
  { first, files, links }: Inventory,
  limits: ToolLimits,
  onContent: OnContent,
): AsyncGenerator<Buffer, void, undefined> {
  for (const entry of first) {
    limits.signal.throwIfAborted();
    yield renderEntry(squashfs, entry, null);
  }
  let next = 0;
  let left = 0;
  for await (const { file, bytes } of readContents(
    squashfs,
    files.map(({ inode }) => inode),
    limits,
  )) {
    if (left === 0) {
      const entry = files[next];
      if (entry?.inode !== file) throw new RangeError('files have another order');
      next += 1;
      left = file.sizeBytes;
      yield renderEntry(squashfs, entry, null);
    }
    left -= bytes.length;
    onContent(file.number, bytes);
    yield bytes;
    if (left > 0) continue;
    onContent(file.number, null);
    yield Buffer.alloc(padded(file.sizeBytes) - file.sizeBytes);
  }
  for (const { entry, target } of links) {
    limits.signal.throwIfAborted();
    yield renderEntry(squashfs, entry, target);
  }
  yield Buffer.alloc(endBytes);
}

/** The headers of an entry, or of one more name of the entry `linkTo`. */
function renderEntry(squashfs: Squashfs, { path, inode }: Entry, linkTo: string | null): Buffer {
  if (inode.type === 'socket') throw new RangeError(`a tar archive has no ${inode.type}`);
  const type = linkTo === null ? inode.type : 'link';
  const sizeBytes = linkTo === null && inode.type === 'file' ? inode.sizeBytes : 0;
  const link = inode.type === 'symlink' ? inode.target : '';
  const target = linkTo === null ? Buffer.from(link, 'latin1') : nameOf(linkTo);
  const name = nameOf(path);
  const header = Buffer.alloc(tarBlockBytes);
  const records = new Map<string, Buffer>();
  const put = (value: number, at: number, length: number, keyword: string) => {
    const digits = value.toString(8);
    if (digits.length >= length) records.set(keyword, Buffer.from(String(value)));
    header.write(`${digits.length >= length ? '0' : digits}`.padStart(length - 1, '0'), at, 'latin1');
  };
  name.copy(header, 0, 0, nameFieldBytes);
  put(inode.mode, 100, 8, 'mode');
  put(inode.uid, 108, 8, 'uid');
  put(inode.gid, 116, 8, 'gid');
  put(sizeBytes, 124, 12, 'size');
  put(inode.modifiedSeconds, 136, 12, 'mtime');
  header.write(typeFlags[type], 156, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  if (inode.type === 'block' || inode.type === 'character') {
    const { major, minor } = deviceNumbers(inode.device);
    put(major, 329, 8, 'SCHILY.devmajor');
    put(minor, 337, 8, 'SCHILY.devminor');
  }
  if (linkTo === null) {
    for (const { name: attribute, value } of attributesOf(squashfs, inode)) {
      records.set(`SCHILY.xattr.${attribute}`, value);
    }
  }
  return finishHeaders(header, { name, target, type }, records);
}

function nameOf(path: string): Buffer {
  return Buffer.from(path === '' ? archivedRoot : `${archivedRoot}/${path}`, 'latin1');
}
