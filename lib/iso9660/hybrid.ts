import { ImageBuilderError } from '../errors.ts';
import type { Disk } from '../image/disk.ts';
import { readGpt } from '../image/gpt.ts';
import { readMbr } from '../image/mbr.ts';
import type { TableEntry } from '../image/partition.ts';

/** The partition tables by which a medium boots from a USB stick, too. */
export interface HybridTables {
  /** Partitions of the MBR; null where there is none, and empty for one that only announces a GPT. */
  readonly mbr: readonly TableEntry[] | null;
  readonly gpt: readonly TableEntry[] | null;
}

const sectorBytes = 512;
const maximumPartitions = 128;

/**
 * The tables before the volume. Partitions may overlap there: the first one of isohybrid holds the whole medium. Throws
 * `image.corrupt` for damaged tables, and `image.truncated` for partitions that the file does not hold.
 */
export async function readHybridTables(disk: Disk): Promise<HybridTables> {
  const mbr = await readMbr(disk);
  const gpt = await readGpt(disk, sectorBytes, 0);
  if (mbr?.protective === true && gpt === null) {
    throw new ImageBuilderError('image.corrupt', 'the medium announces a GPT partition table, but has none');
  }
  for (const entries of [mbr?.entries ?? [], gpt ?? []]) checkEntries(entries, disk.sizeBytes);
  return { mbr: mbr?.entries ?? null, gpt };
}

function checkEntries(entries: readonly TableEntry[], fileBytes: number): void {
  if (entries.length > maximumPartitions) {
    throw new ImageBuilderError('image.unsupported', `the medium has ${entries.length} partitions`);
  }
  for (const { number, offsetBytes, sizeBytes } of entries) {
    const end = offsetBytes + sizeBytes;
    if (end <= fileBytes) continue;
    throw new ImageBuilderError(
      'image.truncated',
      `partition ${number} of the medium ends at byte ${end}, beyond the end of the file at byte ${fileBytes}`,
    );
  }
}
