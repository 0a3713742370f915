import { promisify } from 'node:util';
import { constants, inflateRaw, zstdDecompress } from 'node:zlib';
import { ImageBuilderError } from '../../errors.ts';

const inflate = promisify(inflateRaw);
const decompressZstd = promisify(zstdDecompress);

/**
 * Decompresses one cluster, in a thread of its own. `data` may end with foreign bytes, since qcow2 knows the length of
 * compressed data only in sectors. Throws `image.corrupt` for data that does not give exactly one cluster.
 */
export async function decompressCluster(
  data: Buffer,
  method: 'zlib' | 'zstd',
  clusterSizeBytes: number,
): Promise<Buffer> {
  // Chunks as large as the result: each costs a round trip to the thread.
  const limits = { maxOutputLength: clusterSizeBytes, chunkSize: clusterSizeBytes };
  let cluster: Buffer;
  try {
    cluster =
      method === 'zlib'
        ? await inflate(data, { ...limits, finishFlush: constants.Z_SYNC_FLUSH })
        : await decompressZstd(data.subarray(0, zstdFrameBytes(data)), limits);
  } catch (cause) {
    throw new ImageBuilderError(
      'image.corrupt',
      `the qcow2 image is damaged: a ${method} cluster cannot be decompressed`,
      {
        cause,
      },
    );
  }
  if (cluster.length !== clusterSizeBytes) {
    throw new ImageBuilderError(
      'image.corrupt',
      `the qcow2 image is damaged: a ${method} cluster holds ${cluster.length} bytes instead of ${clusterSizeBytes}`,
    );
  }
  return cluster;
}

/** Length of the zstd frame that `data` begins with (RFC 8878, 3.1.1); throws RangeError where it is cut off. */
function zstdFrameBytes(data: Buffer): number {
  const descriptor = data.readUInt8(4);
  const singleSegment = (descriptor & 0x20) !== 0;
  const contentSizeBytes = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6] ?? 0;
  const dictionaryIdBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  let position = 5 + (singleSegment ? 0 : 1) + dictionaryIdBytes + contentSizeBytes;
  for (let last = false; !last; ) {
    const block = data.readUIntLE(position, 3);
    last = (block & 1) !== 0;
    const runLength = ((block >>> 1) & 3) === 1;
    position += 3 + (runLength ? 1 : block >>> 3);
  }
  const checksum = (descriptor & 4) !== 0;
  return position + (checksum ? 4 : 0);
}
