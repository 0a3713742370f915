import type { FileSystem, FileSystemType } from './partition.ts';
import { readText } from './read-at.ts';

/** Contents of partitions that no guest opens, by the marks that libblkid knows them by: only to be named in messages. */

interface Mark {
  readonly type: FileSystemType;
  readonly offset: number;
  readonly mark: Buffer;
}

const mark = (type: FileSystemType, offset: number, text: string): Mark => ({
  ...{ type, offset },
  mark: Buffer.from(text, 'latin1'),
});

const marks: readonly Mark[] = [
  mark('f2fs', 1024, '\x10\x20\xf5\xf2'),
  mark('mdraid', 0, '\xfc\x4e\x2b\xa9'),
  mark('mdraid', 4096, '\xfc\x4e\x2b\xa9'),
  mark('bcachefs', 4096 + 24, '\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef'),
  mark('bcache', 4096 + 24, '\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81'),
  mark('ntfs', 3, 'NTFS    '),
  mark('exfat', 3, 'EXFAT   '),
  mark('bitlocker', 3, '-FVE-FS-'),
  mark('jfs', 32_768, 'JFS1'),
  mark('reiserfs', 65_536 + 52, 'ReIsEr'),
  mark('nilfs2', 1024 + 6, '\x34\x34'),
  mark('erofs', 1024, '\xe2\xe1\xf5\xe0'),
  mark('hfsplus', 1024, 'H+\0\x04'),
  mark('ufs', 65_536 + 1372, '\x19\x01\x54\x19'),
  mark('stratis', 512 + 4, '!Stra0tis\x86\xff\x02^\x41\x72\x68'),
];

/** The label of a member of a ZFS pool describes the pool in a list of names and values. */
const zfs = { vdevListOffset: 16 * 1024, poolKey: 'pool_guid' } as const;

/** The content at the start of a partition, if it is one of these. */
export function readForeign(head: Buffer): FileSystem | null {
  const found = marks.find(({ offset, mark: bytes }) => head.subarray(offset, offset + bytes.length).equals(bytes));
  if (found !== undefined) {
    const label = found.type === 'f2fs' ? readText(Buffer.from(utf16(head, 1024 + 0x7c, 1024)), 0, 1024) : null;
    return { type: found.type, label, uuid: null };
  }
  const list = head.subarray(zfs.vdevListOffset, zfs.vdevListOffset + 4096);
  return list.includes(zfs.poolKey) ? { type: 'zfs', label: null, uuid: null } : null;
}

function utf16(head: Buffer, start: number, length: number): string {
  return head.toString('utf16le', start, Math.min(head.length, start + length));
}
