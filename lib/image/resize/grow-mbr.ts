import { ImageBuilderError } from '../../errors.ts';
import type { Disk } from '../disk.ts';
import type { TableEntry } from '../partition.ts';
import type { Patch } from './patch.ts';

/** Lets a primary partition of an MBR reach to the end of a larger disk. */

const sectorBytes = 512;
const primaryPartitions = 4;
const mostSectors = 2 ** 32;
/** Cylinder, head and sector for places beyond what they can name. */
const beyondGeometry = Buffer.from('feffff', 'hex');

/** The patches, and the new size of the partition. Throws `image.unsupported` where an MBR cannot say so. */
export async function growMbr(
  disk: Disk,
  newSizeBytes: number,
  { number, offsetBytes }: TableEntry,
): Promise<{ readonly patches: readonly Patch[]; readonly sizeBytes: number }> {
  const [first, end] = [offsetBytes / sectorBytes, Math.floor(newSizeBytes / sectorBytes)];
  if (number > primaryPartitions) {
    throw new ImageBuilderError(
      'image.unsupported',
      `the root is the logical partition ${number} of an MBR, which cannot be made larger here`,
    );
  }
  if (end > mostSectors) {
    throw new ImageBuilderError('image.unsupported', 'a disk with an MBR cannot be larger than 2 TiB');
  }
  const sectors = Math.floor((end - first) / 8) * 8;
  const record = await disk.read(0, sectorBytes);
  const entry = 446 + (number - 1) * 16;
  beyondGeometry.copy(record, entry + 5);
  record.writeUInt32LE(sectors, entry + 12);
  return { sizeBytes: sectors * sectorBytes, patches: [{ offset: 0, bytes: record }] };
}
