import { ImageBuilderError } from '../errors.ts';
import type { Disk } from './disk.ts';
import { detectFat } from './fat.ts';
import type { TableEntry } from './partition.ts';

/** Master boot records with primary, extended and logical partitions. */

const sectorBytes = 512;
const tableOffset = 446;
const entryBytes = 16;
const bootSignature = 0xaa55;
const protectiveType = 0xee;
const extendedTypes: readonly number[] = [0x05, 0x0f, 0x85];
const firstLogicalNumber = 5;
/** Linux has no more names for partitions on most disks. The limit also ends a chain that would never end. */
const maximumLogical = 128;

export interface Mbr {
  /** True where the table only says that the disk has a GPT. */
  readonly protective: boolean;
  /** Primary and logical partitions, without the extended one, which only holds others. */
  readonly entries: readonly TableEntry[];
}

interface RawEntry {
  readonly type: number;
  readonly firstSector: number;
  readonly sectors: number;
}

/**
 * The MBR of a disk; null where there is none, such as where the first sector is a file system's boot sector. Throws
 * `image.corrupt` for chains of logical partitions that loop, leave their extended partition or do not end.
 */
export async function readMbr(disk: Disk): Promise<Mbr | null> {
  if (disk.sizeBytes < sectorBytes) return null;
  const block = await disk.read(0, sectorBytes);
  const primary = readEntries(block);
  if (primary === null || primary.every((entry) => entry.sectors === 0) || detectFat(block) !== null) return null;
  if (primary.some((entry) => entry.type === protectiveType)) return { protective: true, entries: [] };

  const diskId = block.readUInt32LE(440).toString(16).padStart(8, '0');
  const toTableEntry = (number: number, entry: RawEntry): TableEntry => ({
    number,
    offsetBytes: entry.firstSector * sectorBytes,
    sizeBytes: entry.sectors * sectorBytes,
    type: `mbr:${hexByte(entry.type)}`,
    name: null,
    partitionUuid: diskId === '00000000' ? null : `${diskId}-${hexByte(number)}`,
  });
  const entries: TableEntry[] = [];
  let nextLogical = firstLogicalNumber;
  for (const [index, entry] of primary.entries()) {
    if (entry.type === 0 || entry.sectors === 0) continue;
    if (!extendedTypes.includes(entry.type)) {
      entries.push(toTableEntry(index + 1, entry));
      continue;
    }
    for (const logical of await readLogical(disk, entry)) entries.push(toTableEntry(nextLogical++, logical));
  }
  return { protective: false, entries };
}

/** Follows the chain of extended boot records: each holds one partition and the place of the next record. */
async function readLogical(disk: Disk, extended: RawEntry): Promise<RawEntry[]> {
  const partitions: RawEntry[] = [];
  const end = extended.firstSector + extended.sectors;
  const seen = new Set<number>();
  for (let record: number | null = extended.firstSector; record !== null; ) {
    if (seen.has(record)) throw corrupt('its logical partitions form a loop');
    seen.add(record);
    if (seen.size > maximumLogical) throw corrupt(`it has more than ${maximumLogical} logical partitions`);
    if (record < extended.firstSector || record >= end || (record + 1) * sectorBytes > disk.sizeBytes) {
      throw corrupt('its chain of logical partitions leaves the extended partition');
    }
    const [partition, next]: readonly RawEntry[] =
      readEntries(await disk.read(record * sectorBytes, sectorBytes)) ?? [];
    if (partition === undefined || next === undefined) throw corrupt(`there is no boot record at sector ${record}`);
    if (partition.type !== 0 && partition.sectors !== 0) {
      // Relative to its own record, while the next record is relative to the extended partition.
      const firstSector = record + partition.firstSector;
      if (firstSector + partition.sectors > end) throw corrupt('a logical partition leaves the extended partition');
      partitions.push({ ...partition, firstSector });
    }
    record = extendedTypes.includes(next.type) && next.sectors !== 0 ? extended.firstSector + next.firstSector : null;
  }
  return partitions;
}

/** The four entries of a boot record; null where it has no signature or flags that no table has. */
function readEntries(block: Buffer): RawEntry[] | null {
  if (block.readUInt16LE(510) !== bootSignature) return null;
  const entries: RawEntry[] = [];
  for (let offset = tableOffset; offset < 510; offset += entryBytes) {
    if ((block.readUInt8(offset) & 0x7f) !== 0) return null;
    entries.push({
      type: block.readUInt8(offset + 4),
      firstSector: block.readUInt32LE(offset + 8),
      sectors: block.readUInt32LE(offset + 12),
    });
  }
  return entries;
}

function hexByte(value: number): string {
  return value.toString(16).padStart(2, '0');
}

function corrupt(message: string): ImageBuilderError {
  return new ImageBuilderError('image.corrupt', `the partition table (MBR) is damaged: ${message}`);
}
