import { promisify } from 'node:util';
import { constants, inflateRaw, inflateRawSync, zstdDecompress, zstdDecompressSync } from 'node:zlib';
import type { ImageBuilderError } from '../../errors.ts';
import { corrupt } from './refusals.ts';

type Method = 'zlib' | 'zstd';

/** Data that end early count as far as they go: whether they suffice is seen by their length. */
const finishFlush = constants.Z_SYNC_FLUSH;

const inflate = promisify(inflateRaw);
const decompressZstd = promisify(zstdDecompress);

/**
 * Decompresses one cluster, in a thread of its own. `data` may end with foreign bytes, since qcow2 knows the length of
 * compressed data only in sectors. Throws `image.corrupt` for data that does not give exactly one cluster.
 */
export async function decompressCluster(data: Buffer, method: Method, clusterSizeBytes: number): Promise<Buffer> {
  const limits = limitsOf(clusterSizeBytes);
  let cluster: Buffer;
  try {
    cluster =
      method === 'zlib'
        ? await inflate(data, { ...limits, finishFlush })
        : await decompressZstd(zstdFrame(data), limits);
  } catch (cause) {
    throw notDecompressed(method, 'a cluster', cause);
  }
  return whole(cluster, clusterSizeBytes, 'a cluster');
}

/** The same in this thread; `diskOffset` is the place of the cluster on the disk, for the error. */
export function decompressClusterSync(
  data: Buffer,
  method: Method,
  clusterSizeBytes: number,
  diskOffset: number,
): Buffer {
  const limits = limitsOf(clusterSizeBytes);
  const what = `the cluster of disk offset ${diskOffset}`;
  let cluster: Buffer;
  try {
    cluster =
      method === 'zlib'
        ? inflateRawSync(data, { ...limits, finishFlush })
        : zstdDecompressSync(zstdFrame(data), limits);
  } catch (cause) {
    throw notDecompressed(method, what, cause);
  }
  return whole(cluster, clusterSizeBytes, what);
}

/** Chunks as large as the result: each costs a round trip to the thread. */
function limitsOf(clusterSizeBytes: number) {
  return { maxOutputLength: clusterSizeBytes, chunkSize: clusterSizeBytes };
}

function notDecompressed(method: Method, what: string, cause: unknown): ImageBuilderError {
  return corrupt(`${what} cannot be decompressed as ${method}`, { cause });
}

function whole(cluster: Buffer, clusterSizeBytes: number, what: string): Buffer {
  if (cluster.length === clusterSizeBytes) return cluster;
  throw corrupt(`${what} holds ${cluster.length} bytes instead of ${clusterSizeBytes}`);
}

/** The zstd frame that `data` begins with; throws RangeError where it is cut off. */
function zstdFrame(data: Buffer): Buffer {
  return data.subarray(0, zstdFrameBytes(data));
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
