import { ImageBuilderError } from '../../errors.ts';
import type { Disk } from '../disk.ts';
import type { ImageInspection } from '../inspection.ts';
import { describePartitions } from '../layout.ts';
import type { FileSystemType } from '../partition.ts';
import { growGpt } from './grow-gpt.ts';
import { growMbr } from './grow-mbr.ts';
import type { Patch } from './patch.ts';

/** File systems that the kernel makes larger while they are mounted. */
const growing: readonly FileSystemType[] = ['ext2', 'ext3', 'ext4', 'xfs', 'btrfs'];

/** A disk that becomes larger, with the partition of its root. */
export interface Growth {
  /** The inspection as it is with the larger disk. */
  readonly inspection: ImageInspection;
  /** Number of the partition whose file system is still to be made larger. */
  readonly partition: number;
  /** Changes to the disk of the new size. */
  readonly patches: readonly Patch[];
}

/**
 * Plans how the disk of an image grows to `newSizeBytes`. Throws `image.too_large` where it is larger already, and
 * `image.unsupported` where the last partition, which alone
 * can reach to the new end, has no file system of these.
 */
export async function planGrowth(disk: Disk, inspection: ImageInspection, newSizeBytes: number): Promise<Growth> {
  const { virtualSizeBytes, partitionTable, partitions } = inspection;
  if (newSizeBytes < virtualSizeBytes) {
    throw new ImageBuilderError(
      'image.too_large',
      `the disk of the base image has ${virtualSizeBytes} bytes, more than the ${newSizeBytes} of disk_size`,
    );
  }
  // Only the last partition can reach to the new end. The guest sees whether it is the root, by what it holds.
  const last = partitions.toSorted((one, other) => one.offsetBytes - other.offsetBytes).at(-1);
  if (last?.fileSystem === null || last === undefined || !growing.includes(last.fileSystem.type)) {
    throw new ImageBuilderError(
      'image.unsupported',
      `disk_size cannot be met: the last partition of the disk is not one with ${growing.join(', ')} (${describePartitions(partitions)})`,
    );
  }
  const { patches, sizeBytes } =
    partitionTable === 'gpt'
      ? await growGpt(disk, newSizeBytes, last)
      : partitionTable === 'mbr'
        ? await growMbr(disk, newSizeBytes, last)
        : { patches: [], sizeBytes: newSizeBytes };
  const grown = partitions.map((partition) => (partition === last ? { ...last, sizeBytes } : partition));
  return {
    inspection: { ...inspection, virtualSizeBytes: newSizeBytes, partitions: grown },
    partition: last.number,
    patches,
  };
}
