import type { FileHandle } from 'node:fs/promises';
import type { Spend } from '../budget.ts';
import { type Disk, expectOnDisk } from '../disk.ts';
import { readAt } from '../read-at.ts';
import { decompressCluster } from './decompress.ts';
import { type Cluster, entryBytes, readEntry, type Subclusters } from './entry.ts';
import type { Qcow2Header } from './header.ts';
import { corrupt } from './refusals.ts';
import { readL1 } from './tables.ts';

const subclustersPerCluster = 32;

/** Tables and clusters kept, of each kind: reading a file system alternates between its tables and its data. */
const keptClusters = 4;

/**
 * The disk of a qcow2 file without a backing file. Keeps the L1 table, four L2 tables and four decompressed clusters in
 * memory. The handle stays the caller's. An error thrown by `spend` ends a read; a cluster in memory costs only the
 * bytes copied out of it.
 */
export async function qcow2Disk(
  handle: FileHandle,
  header: Qcow2Header,
  fileSizeBytes: number,
  spend: Spend = () => {},
): Promise<Disk> {
  const { clusterSizeBytes, virtualSizeBytes } = header;
  const size = entryBytes(header);
  const entriesPerTable = clusterSizeBytes / size;
  const l1 = await readL1(handle, header, fileSizeBytes);
  const readTable = keepNewest((offset) => {
    spend(clusterSizeBytes);
    return readAt(handle, offset, clusterSizeBytes);
  });
  const readCompressed = keepNewest(async (offset, maximumBytes) => {
    spend(clusterSizeBytes);
    // The last sector counts as a whole; the file may end within it.
    const data = await readAt(handle, offset, Math.min(maximumBytes, fileSizeBytes - offset));
    return await decompressCluster(data, header.compression, clusterSizeBytes);
  });

  const find = async (index: number): Promise<Cluster> => {
    const tableOffset = l1[Math.floor(index / entriesPerTable)] ?? 0;
    if (tableOffset === 0) return { kind: 'unallocated' };
    return readEntry(await readTable(tableOffset, 0), (index % entriesPerTable) * size, header);
  };

  const readCluster = async (cluster: Cluster, target: Buffer, start: number): Promise<void> => {
    switch (cluster.kind) {
      case 'unallocated':
      case 'zero':
        target.fill(0);
        return;
      case 'compressed':
        (await readCompressed(cluster.hostOffset, cluster.maximumBytes)).copy(target, 0, start, start + target.length);
        return;
      case 'data':
        // The offset of a cluster without an allocated subcluster may be 0: the header, not data.
        if (cluster.subclusters?.allocated === 0) {
          target.fill(0);
          return;
        }
        (await readAt(handle, cluster.hostOffset + start, target.length)).copy(target);
        if (cluster.subclusters !== undefined) {
          blankSubclusters(target, start, cluster.subclusters, clusterSizeBytes / subclustersPerCluster);
        }
        return;
      case 'invalid':
        throw corrupt(`an entry of its L2 tables ${cluster.why}`);
    }
  };

  return {
    sizeBytes: virtualSizeBytes,
    async read(offset, length) {
      expectOnDisk(offset, length, virtualSizeBytes);
      spend(length);
      const result = Buffer.allocUnsafe(length);
      for (let filled = 0; filled < length; ) {
        const start = (offset + filled) % clusterSizeBytes;
        const part = result.subarray(filled, filled + Math.min(length - filled, clusterSizeBytes - start));
        await readCluster(await find(Math.floor((offset + filled) / clusterSizeBytes)), part, start);
        filled += part.length;
      }
      return result;
    },
  };
}

/** Without a backing file, a subcluster that is not allocated reads as zeros. */
function blankSubclusters(target: Buffer, start: number, { allocated }: Subclusters, subclusterBytes: number): void {
  for (let index = 0; index < subclustersPerCluster; index++) {
    if ((allocated & (1 << index)) !== 0) continue;
    const from = Math.max(0, index * subclusterBytes - start);
    const to = Math.min(target.length, (index + 1) * subclusterBytes - start);
    if (from < to) target.fill(0, from, to);
  }
}

/** Keeps the most recently used results. */
function keepNewest(
  load: (offset: number, maximumBytes: number) => Promise<Buffer>,
): (offset: number, maximumBytes: number) => Promise<Buffer> {
  const kept = new Map<number, Buffer>();
  return async (offset, maximumBytes) => {
    const buffer = kept.get(offset) ?? (await load(offset, maximumBytes));
    kept.delete(offset);
    kept.set(offset, buffer);
    const [oldest] = kept.keys();
    if (kept.size > keptClusters && oldest !== undefined) kept.delete(oldest);
    return buffer;
  };
}
