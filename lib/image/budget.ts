import { ImageBuilderError } from '../errors.ts';

/** Counts bytes that are about to be read or decompressed. Throws where there have been too many. */
export type Spend = (bytes: number) => void;

const MiB = 2 ** 20;
/** Room for partitions of the largest clusters, as many as are looked at, with some to spare. */
const baseBytes = 256 * MiB;
const bytesPerFileByte = 8;

/**
 * The cost that looking for partitions in a file may have. Compressed clusters can be shared, so that a small file
 * holds a disk on which there is no end of blocks to read. The bytes read are therefore limited by the size of the
 * file. The function throws `image.unsupported` beyond that, and the reason of `signal`.
 */
export function createBudget(fileSizeBytes: number, signal: AbortSignal | undefined): Spend {
  const limitBytes = baseBytes + bytesPerFileByte * fileSizeBytes;
  let spentBytes = 0;
  return (bytes) => {
    signal?.throwIfAborted();
    spentBytes += bytes;
    if (spentBytes <= limitBytes) return;
    throw new ImageBuilderError(
      'image.unsupported',
      `the file systems in the image refer to more than ${Math.floor(limitBytes / MiB)} MiB of blocks before they say what they are; for a file of ${fileSizeBytes} bytes no more is read`,
    );
  };
}
