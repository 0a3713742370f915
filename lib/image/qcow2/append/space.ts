import type { ChangedFile } from '../../changed-file.ts';
import { readAt, readBig } from '../../read-at.ts';
import type { Qcow2Header } from '../header.ts';
import { corrupt, unsupported } from '../refusals.ts';

/**
 * The clusters of a qcow2 file that nobody else has open: their reference counts, and which are free. All changes stay
 * in memory until `write`: 2 bytes for each cluster of the file at most, and the numbers of freed clusters.
 */
export interface FileSpace {
  /**
   * Takes one reference from each cluster that the bytes touch. Clusters that become free by that are used first.
   * Throws `image.corrupt` where a cluster has no reference.
   */
  release(offset: number, length: number): Promise<void>;
  /** The place of a new whole cluster, in bytes. */
  takeCluster(): Promise<number>;
  /** The place of `length` new bytes, fewer than a cluster, which may share clusters with others that came this way. */
  takeBytes(length: number): Promise<number>;
  /**
   * Writes the reference counts, and zeros over the clusters that stay free: they still hold data of before. The file
   * then has all of its last sector. Throws `image.unsupported` where the file has become too large for its clusters.
   */
  write(signal: AbortSignal): Promise<void>;
}

/** Reference counts of 16 bits are the only ones that changes are appended to. */
const countBytes = 2;
/** QEMU opens no file with a larger table of reference counts. */
const maximumTableBytes = 8 * 1024 * 1024;
const zeros = Buffer.alloc(1024 * 1024);

/** The space of a file of `fileSizeBytes` whose tables have been checked. */
export async function openSpace(file: ChangedFile, header: Qcow2Header, fileSizeBytes: number): Promise<FileSpace> {
  const { handle } = file;
  const { clusterSizeBytes, refcountTableOffset, refcountTableClusters } = header;
  const perBlock = clusterSizeBytes / countBytes;
  const table = await readAt(handle, refcountTableOffset, refcountTableClusters * clusterSizeBytes);
  const places = Array.from({ length: table.length / 8 }, (_, index) => readBig(table, index * 8));
  /** Blocks of reference counts that were read or are new, by their numbers. */
  const blocks = new Map<number, Buffer>();
  const released: number[] = [];
  /** Those of `released` that are still to be taken, the first at the end; null until the first is taken. */
  let free: number[] | null = null;
  let endCluster = Math.ceil(fileSizeBytes / clusterSizeBytes);
  /** The next byte for data that share clusters, and how many follow it in clusters that are taken. */
  let [sharedOffset, sharedBytes] = [0, 0];

  const blockOf = async (cluster: number): Promise<Buffer> => {
    const index = Math.floor(cluster / perBlock);
    const place = places[index] ?? 0;
    const block =
      blocks.get(index) ??
      (place === 0 ? Buffer.alloc(clusterSizeBytes) : await readAt(handle, place, clusterSizeBytes));
    blocks.set(index, block);
    return block;
  };
  const count = async (cluster: number, change: (counted: number) => number): Promise<number> => {
    const block = await blockOf(cluster);
    const at = (cluster % perBlock) * countBytes;
    const changed = change(block.readUInt16BE(at));
    block.writeUInt16BE(changed, at);
    return changed;
  };

  const release = async (offset: number, length: number): Promise<void> => {
    const last = Math.floor((offset + length - 1) / clusterSizeBytes);
    for (let cluster = Math.floor(offset / clusterSizeBytes); cluster <= last; cluster++) {
      const left = await count(cluster, (counted) => {
        if (counted > 0) return counted - 1;
        throw corrupt(`the cluster at byte ${cluster * clusterSizeBytes} is in use, and counted 0 times`);
      });
      if (left === 0) released.push(cluster);
    }
  };

  const takeNumber = (): number => {
    free ??= released.toSorted((a, b) => b - a);
    return free.pop() ?? endCluster++;
  };
  const takeCluster = async (): Promise<number> => {
    const cluster = takeNumber();
    await count(cluster, () => 1);
    return cluster * clusterSizeBytes;
  };

  /** Makes a longer table where clusters have no place in this one; true where it did. */
  const growTable = async (): Promise<boolean> => {
    const missing = [...blocks.keys()].filter((index) => (places[index] ?? 0) === 0).length;
    const needed = (tableClusters: number) => Math.ceil((endCluster + tableClusters + 2 * missing) / perBlock) + 2;
    if (needed(0) * 8 <= places.length * 8) return false;
    let clusters = 1;
    while (needed(clusters) * 8 > clusters * clusterSizeBytes) clusters++;
    if (clusters * clusterSizeBytes > maximumTableBytes) {
      throw unsupported(`a qcow2 image with clusters of ${clusterSizeBytes} bytes cannot become so large`);
    }
    const offset = endCluster * clusterSizeBytes;
    for (const end = endCluster + clusters; endCluster < end; endCluster++) await count(endCluster, () => 1);
    await release(refcountTableOffset, table.length);
    const pointer = Buffer.alloc(12);
    pointer.writeBigUInt64BE(BigInt(offset), 0);
    pointer.writeUInt32BE(clusters, 8);
    await file.write(pointer, 48);
    tableOffset = offset;
    while (places.length * 8 < clusters * clusterSizeBytes) places.push(0);
    return true;
  };
  let tableOffset = refcountTableOffset;

  return {
    release,
    takeCluster,
    async takeBytes(length) {
      if (length > sharedBytes) {
        const cluster = takeNumber();
        await count(cluster, () => 0);
        const start = cluster * clusterSizeBytes;
        // Data go on in the next cluster only where that follows.
        if (sharedBytes === 0 || sharedOffset + sharedBytes !== start) [sharedOffset, sharedBytes] = [start, 0];
        sharedBytes += clusterSizeBytes;
      }
      const offset = sharedOffset;
      const last = Math.floor((offset + length - 1) / clusterSizeBytes);
      for (let cluster = Math.floor(offset / clusterSizeBytes); cluster <= last; cluster++) {
        await count(cluster, (counted) => counted + 1);
      }
      sharedOffset += length;
      sharedBytes -= length;
      return offset;
    },
    async write(signal) {
      await growTable();
      // Blocks that are made for new blocks come behind them in the map, and so in this loop.
      for (const index of blocks.keys()) {
        if ((places[index] ?? 0) !== 0) continue;
        const cluster = takeNumber();
        places[index] = cluster * clusterSizeBytes;
        await count(cluster, () => 1);
      }
      for (const [index, block] of blocks) {
        signal.throwIfAborted();
        await file.write(block, places[index] ?? 0);
      }
      const changed = Buffer.alloc(places.length * 8);
      for (const [index, place] of places.entries()) changed.writeBigUInt64BE(BigInt(place), index * 8);
      await file.write(changed, tableOffset);
      for (const cluster of free ?? released) {
        signal.throwIfAborted();
        for (let done = 0; done < clusterSizeBytes; done += zeros.length) {
          const piece = zeros.subarray(0, Math.min(zeros.length, clusterSizeBytes - done));
          await file.write(piece, cluster * clusterSizeBytes + done);
        }
      }
      const isLast = sharedOffset + sharedBytes === endCluster * clusterSizeBytes && sharedBytes < clusterSizeBytes;
      const endBytes = isLast ? Math.ceil(sharedOffset / 512) * 512 : endCluster * clusterSizeBytes;
      const { size } = await handle.stat();
      if (size < endBytes) await handle.truncate(endBytes);
    },
  };
}
