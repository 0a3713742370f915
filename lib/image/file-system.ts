import type { Disk } from './disk.ts';
import { readFat } from './fat.ts';
import { inspectBtrfs, inspectExt, inspectXfs } from './features.ts';
import { readForeign } from './foreign-content.ts';
import type { FileSystem } from './partition.ts';
import { readText } from './read-at.ts';

/**
 * Recognises the file system that begins at a place of a disk by its superblock: the same marks, labels and UUIDs that
 * libblkid reports. The superblocks are only read, never followed (but for the label of a FAT).
 */
export async function detectFileSystem(disk: Disk, offset: number, sizeBytes: number): Promise<FileSystem | null> {
  const head = await disk.read(offset, Math.min(sizeBytes, headBytes));
  for (const read of readers) {
    const found = read(head, sizeBytes);
    if (found !== null) return found;
  }
  const foreign = readForeign(head);
  if (foreign !== null || head.length < 512) return foreign;
  return (await readFat(disk, offset, sizeBytes)) ?? (await readRaidAtEnd(disk, offset, sizeBytes));
}

/** Up to the end of the superblock of btrfs, the farthest from the start. */
const headBytes = 64 * 1024 + 4096;

type Reader = (head: Buffer, sizeBytes: number) => FileSystem | null;

const hasAt = (head: Buffer, offset: number, mark: string): boolean =>
  head.toString('latin1', offset, offset + mark.length) === mark;

/** Canonical form of a UUID, stored in the order it is written; null for a UUID that was never set. */
function readUuid(head: Buffer, offset: number): string | null {
  const hex = head.toString('hex', offset, offset + 16);
  if (/^0*$/.test(hex)) return null;
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

const readLuks: Reader = (head) => {
  if (!hasAt(head, 0, 'LUKS\xba\xbe') || head.length < 4096) return null;
  return {
    type: 'luks',
    label: head.readUInt16BE(6) === 2 ? readText(head, 24, 48) : null,
    uuid: readText(head, 168, 40),
  };
};

/** The label of an LVM2 physical volume lies in one of the first four sectors. */
const readLvm: Reader = (head) => {
  for (let sector = 0; sector < 4; sector++) {
    const at = sector * 512;
    if (!hasAt(head, at, 'LABELONE') || !hasAt(head, at + 24, 'LVM2 001')) continue;
    const id = head.toString('latin1', at + 32, at + 64);
    return {
      type: 'lvm',
      label: null,
      uuid: id.replace(/^(.{6})(.{4})(.{4})(.{4})(.{4})(.{4})(.{6})$/, '$1-$2-$3-$4-$5-$6-$7'),
    };
  }
  return null;
};

const readXfs: Reader = (head, sizeBytes) =>
  hasAt(head, 0, 'XFSB') && head.length >= 512
    ? { type: 'xfs', label: readText(head, 108, 12), uuid: readUuid(head, 32), ...inspectXfs(head, sizeBytes) }
    : null;

const readSquashfs: Reader = (head) => (hasAt(head, 0, 'hsqs') ? { type: 'squashfs', label: null, uuid: null } : null);

const readBtrfs: Reader = (head, sizeBytes) => {
  const at = 64 * 1024;
  if (!hasAt(head, at + 0x40, '_BHRfS_M') || head.length < headBytes) return null;
  return {
    ...{ type: 'btrfs', label: readText(head, at + 0x12b, 256), uuid: readUuid(head, at + 0x20) },
    ...inspectBtrfs(head.subarray(at), sizeBytes),
  };
};

/** The mark of a swap area ends the first page, whose size is that of the machine that made it. */
const readSwap: Reader = (head) => {
  const marked = [4096, 8192, 16384, 32768, 65536].some((page) => hasAt(head, page - 10, 'SWAPSPACE2'));
  return marked ? { type: 'swap', label: readText(head, 1052, 16), uuid: readUuid(head, 1036) } : null;
};

/** Feature bits by which ext2, ext3 and ext4 differ; a file system with any feature that ext3 does not know is ext4. */
const ext = {
  magic: 0xef53,
  compatHasJournal: 0x4,
  incompatJournalDevice: 0x8,
  incompatOfExt3: 0x2 | 0x4 | 0x10,
  readOnlyCompatOfExt3: 0x1 | 0x2 | 0x4,
} as const;

const readExt: Reader = (head, sizeBytes) => {
  const at = 1024;
  if (head.length < at + 1024 || head.readUInt16LE(at + 0x38) !== ext.magic) return null;
  const incompat = head.readUInt32LE(at + 0x60);
  const readOnlyCompat = head.readUInt32LE(at + 0x64);
  if ((incompat & ext.incompatJournalDevice) !== 0) return null;
  const beyondExt3 = (incompat & ~ext.incompatOfExt3) !== 0 || (readOnlyCompat & ~ext.readOnlyCompatOfExt3) !== 0;
  const hasJournal = (head.readUInt32LE(at + 0x5c) & ext.compatHasJournal) !== 0;
  return {
    type: beyondExt3 ? 'ext4' : hasJournal ? 'ext3' : 'ext2',
    label: readText(head, at + 0x78, 16),
    uuid: readUuid(head, at + 0x68),
    ...inspectExt(head.subarray(at), sizeBytes),
  };
};

/** Superblocks of the older formats of Linux's RAID lie at the end: 0.90 in its last 64 KiB block, 1.0 in its last 8 KiB. */
async function readRaidAtEnd(disk: Disk, offset: number, sizeBytes: number): Promise<FileSystem | null> {
  const places = [Math.floor(sizeBytes / 65_536) * 65_536 - 65_536, Math.floor((sizeBytes - 8192) / 4096) * 4096];
  for (const place of places) {
    if (place < 0) continue;
    const head = await disk.read(offset + place, 4);
    if (head.readUInt32LE(0) === raidMagic) return { type: 'mdraid', label: null, uuid: null };
  }
  return null;
}

const raidMagic = 0xa92b4efc;

const readers: readonly Reader[] = [readLuks, readLvm, readXfs, readSquashfs, readExt, readBtrfs, readSwap];
