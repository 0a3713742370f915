import { nameFieldBytes, tarBlockBytes } from '../../tar/header.ts';
import { renderPaxRecords } from '../../tar/pax.ts';
import { renderExtra, withSum } from '../../tar/render.ts';
import { attributesOf, deviceNumbers, type Entry } from '../entry.ts';
import type { FileType } from '../inode.ts';
import type { Squashfs } from '../open.ts';
import type { ToolLimits } from '../xz.ts';
import { readContents } from './contents.ts';
import type { Inventory } from './inventory.ts';

/** Called with a file's number and its content, piece by piece; null behind the last piece. */
export type OnContent = (number: number, bytes: Buffer | null) => void;

/** mksquashfs takes no owner, time and attributes of a root out of an archive, so the root is a directory in it. */
export const archivedRoot = 'root';

const flags: Readonly<Partial<Record<FileType, string>>> = {
  file: '0',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

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
    yield Buffer.alloc((tarBlockBytes - (file.sizeBytes % tarBlockBytes)) % tarBlockBytes);
  }
  for (const { entry, target } of links) {
    limits.signal.throwIfAborted();
    yield renderEntry(squashfs, entry, target);
  }
  // Two blocks of zeros end an archive.
  yield Buffer.alloc(2 * tarBlockBytes);
}

/** The headers of an entry, or of one more name of the entry `linkTo`. */
function renderEntry(squashfs: Squashfs, { path, inode }: Entry, linkTo: string | null): Buffer {
  const flag = linkTo === null ? flags[inode.type] : '1';
  if (flag === undefined) throw new RangeError(`a tar archive has no ${inode.type}`);
  const sizeBytes = linkTo === null && inode.type === 'file' ? inode.sizeBytes : 0;
  const link = inode.type === 'symlink' ? inode.target : '';
  const target = linkTo === null ? Buffer.from(link, 'latin1') : nameOf(linkTo);
  const name = nameOf(path);
  const isLong = target.length > nameFieldBytes;
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
  header.write(flag, 156, 'latin1');
  target.copy(header, 157, 0, nameFieldBytes);
  header.write('ustar\x0000', 257, 'latin1');
  if (inode.type === 'block' || inode.type === 'character') {
    const { major, minor } = deviceNumbers(inode.device);
    put(major, 329, 8, 'SCHILY.devmajor');
    put(minor, 337, 8, 'SCHILY.devminor');
  }
  if (name.length > nameFieldBytes) records.set('path', name);
  if (isLong && linkTo !== null) records.set('linkpath', target);
  if (linkTo === null) {
    for (const { name: attribute, value } of attributesOf(squashfs, inode)) {
      records.set(`SCHILY.xattr.${attribute}`, value);
    }
  }
  const pax = renderPaxRecords(records);
  return Buffer.concat([
    // squashfs-tools 4.5.1 takes each leading `../` off targets in pax headers.
    ...(isLong && linkTo === null ? [renderExtra('K', Buffer.concat([target, Buffer.alloc(1)]))] : []),
    ...(pax.length > 0 ? [renderExtra('x', pax)] : []),
    withSum(header),
  ]);
}

function nameOf(path: string): Buffer {
  return Buffer.from(path === '' ? archivedRoot : `${archivedRoot}/${path}`, 'latin1');
}
