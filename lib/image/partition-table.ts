import { ImageBuilderError } from '../errors.ts';
import type { Disk } from './disk.ts';
import { detectFileSystem } from './file-system.ts';
import { readGpt } from './gpt.ts';
import { readMbr } from './mbr.ts';
import type { Partition, TableEntry } from './partition.ts';

export interface PartitionTable {
  readonly table: 'gpt' | 'mbr' | 'none';
  readonly partitions: readonly Partition[];
}

export interface PartitionTableOptions {
  /** The error for partitions beyond the end of the disk: a raw file was cut off, a qcow2 file is wrong. */
  readonly beyondEnd: 'image.corrupt' | 'image.truncated';
}

/** As many as the usual GPT has entries. */
const maximumPartitions = 128;

/** Logical sectors of 512 bytes everywhere but on some newest disks. */
const sectorSizes = [512, 4096] as const;

/**
 * The partitions of a disk, with their file systems: from its GPT, else from its MBR, else the whole disk where it is
 * one file system; empty where nothing is recognised. Throws `image.corrupt` for tables that contradict themselves
 * (checksums, overlaps, loops), `image.unsupported` for more than 128 partitions, the code `beyondEnd` for partitions
 * outside the disk, and the errors of `disk.read`.
 */
export async function readPartitions(disk: Disk, { beyondEnd }: PartitionTableOptions): Promise<PartitionTable> {
  const { table, entries } = await readTable(disk, beyondEnd);
  if (table === 'none') {
    const fileSystem = await detectFileSystem(disk, 0, disk.sizeBytes);
    if (fileSystem === null) return { table, partitions: [] };
    const whole = { number: 0, offsetBytes: 0, sizeBytes: disk.sizeBytes, type: null, name: null, partitionUuid: null };
    return { table, partitions: [{ ...whole, fileSystem }] };
  }
  const partitions: Partition[] = [];
  for (const entry of entries) {
    partitions.push({ ...entry, fileSystem: await detectFileSystem(disk, entry.offsetBytes, entry.sizeBytes) });
  }
  return { table, partitions };
}

async function readTable(
  disk: Disk,
  beyondEnd: PartitionTableOptions['beyondEnd'],
): Promise<{ table: PartitionTable['table']; entries: readonly TableEntry[] }> {
  const mbr = await readMbr(disk);
  if (mbr === null) return { table: 'none', entries: [] };
  if (mbr.protective) {
    for (const sectorBytes of sectorSizes) {
      const entries = await readGpt(disk, sectorBytes);
      if (entries !== null) return { table: 'gpt', entries: checked(entries, disk, beyondEnd) };
    }
    throw new ImageBuilderError('image.corrupt', 'the disk announces a GPT partition table, but has none');
  }
  return { table: 'mbr', entries: checked(mbr.entries, disk, beyondEnd) };
}

function checked(
  entries: readonly TableEntry[],
  disk: Disk,
  beyondEnd: PartitionTableOptions['beyondEnd'],
): readonly TableEntry[] {
  if (entries.length > maximumPartitions) {
    throw new ImageBuilderError(
      'image.unsupported',
      `the image has ${entries.length} partitions; at most ${maximumPartitions} are looked at`,
    );
  }
  for (const entry of entries) {
    const end = entry.offsetBytes + entry.sizeBytes;
    if (end > disk.sizeBytes) {
      throw new ImageBuilderError(
        beyondEnd,
        `partition ${entry.number} ends at byte ${end}, beyond the end of the disk at byte ${disk.sizeBytes}`,
      );
    }
  }
  const inOrder = entries.toSorted((one, other) => one.offsetBytes - other.offsetBytes);
  for (const [index, entry] of inOrder.entries()) {
    const before = inOrder[index - 1];
    if (before !== undefined && before.offsetBytes + before.sizeBytes > entry.offsetBytes) {
      throw new ImageBuilderError(
        'image.corrupt',
        `the partition table is damaged: partitions ${before.number} and ${entry.number} overlap`,
      );
    }
  }
  return entries;
}
