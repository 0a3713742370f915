import type { FileHandle } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { ImageBuilderError } from '../../errors.ts';
import { readAt, readBig } from '../read-at.ts';
import { type Cluster, entryBytes, readEntry } from './entry.ts';
import type { Qcow2Header } from './header.ts';
import { corrupt } from './refusals.ts';
import { createUsage, type Usage } from './usage.ts';

/** The sums over the tables of a sound qcow2 file. */
export interface TableSummary {
  /** Bytes of the disk that are stored in the file, before compression. */
  readonly allocatedBytes: number;
  /** Part of `allocatedBytes` that is compressed. */
  readonly compressedBytes: number;
}

export interface TableOptions {
  readonly fileSizeBytes: number;
  readonly signal?: AbortSignal;
}

/** Entries visited in one go, some milliseconds; other work is done in between. */
const entriesAtATime = 2 ** 15;

/**
 * Reads the L1 table and returns the offsets of the L2 tables, 0 for missing ones. Throws `image.truncated` or
 * `image.corrupt` where the table does not lie within the file.
 */
export async function readL1(handle: FileHandle, header: Qcow2Header, fileSizeBytes: number): Promise<number[]> {
  expectInside('L1 table', header.l1Offset, header.l1Entries * 8, header, fileSizeBytes);
  const table = await readAt(handle, header.l1Offset, header.l1Entries * 8);
  // Bits 9 to 55 of each entry, in two halves.
  return Array.from({ length: header.l1Entries }, (_, index) => {
    const low = table.readUInt32BE(index * 8 + 4);
    return (table.readUInt32BE(index * 8) & 0x00ffffff) * 2 ** 32 + (low - (low % 512));
  });
}

/**
 * Visits every cluster of the disk that has an entry, in the order of the disk. Memory: one L1 and one L2 table. Throws
 * as `readL1`, and `image.corrupt` or `image.truncated` for an L2 table that does not lie within the file.
 */
export async function forEachCluster(
  handle: FileHandle,
  header: Qcow2Header,
  options: TableOptions & {
    readonly onTable?: (hostOffset: number) => void;
    readonly onCluster: (diskOffset: number, cluster: Cluster) => void;
  },
): Promise<void> {
  const size = entryBytes(header);
  for await (const { hostOffset, firstCluster, table } of forEachTable(handle, header, options)) {
    options.onTable?.(hostOffset);
    for (let entry = 0; entry * size < table.length; entry++) {
      if (entry > 0 && entry % entriesAtATime === 0) {
        await setImmediate();
        options.signal?.throwIfAborted();
      }
      const cluster = readEntry(table, entry * size, header);
      if (cluster.kind !== 'unallocated') options.onCluster((firstCluster + entry) * header.clusterSizeBytes, cluster);
    }
  }
}

/**
 * The L2 tables of a qcow2 file, in the order of the disk, each with its place and the number of its first cluster on
 * the disk. Throws as `forEachCluster` does.
 */
export async function* forEachTable(
  handle: FileHandle,
  header: Qcow2Header,
  { fileSizeBytes, signal }: TableOptions,
): AsyncGenerator<{ hostOffset: number; firstCluster: number; table: Buffer }, void, undefined> {
  const { clusterSizeBytes } = header;
  const perTable = clusterSizeBytes / entryBytes(header);
  for (const [index, hostOffset] of (await readL1(handle, header, fileSizeBytes)).entries()) {
    if (hostOffset === 0) continue;
    signal?.throwIfAborted();
    expectInside(`L2 table ${index}`, hostOffset, clusterSizeBytes, header, fileSizeBytes);
    yield { hostOffset, firstCluster: index * perTable, table: await readAt(handle, hostOffset, clusterSizeBytes) };
  }
}

/**
 * Follows every reference of a qcow2 file, and checks that each lies within the file and on its boundary, that no
 * cluster has two uses that exclude each other, and that no reference count is too low (a later write would then
 * overwrite data of another part of the disk). Counts that are too high only waste space and pass, as with QEMU.
 *
 * Bounded: every table is read once at most, and memory is 2 bytes per cluster of the file. Throws `image.truncated`
 * where the file ends before a place that it refers to, `image.corrupt` for every other contradiction,
 * `image.unsupported` for a file with too many clusters to check.
 */
export async function checkTables(
  handle: FileHandle,
  header: Qcow2Header,
  options: TableOptions,
): Promise<TableSummary> {
  const { clusterSizeBytes, virtualSizeBytes } = header;
  const { fileSizeBytes, signal } = options;
  const usage = createUsage(fileSizeBytes, clusterSizeBytes);
  usage.takeWhole('header', 0, clusterSizeBytes);
  const claim = (what: string, offset: number, length: number) => {
    expectInside(what, offset, length, header, fileSizeBytes);
    usage.takeWhole(what, offset, length);
  };
  claim('table of reference counts', header.refcountTableOffset, header.refcountTableClusters * clusterSizeBytes);
  if (header.l1Entries > 0) claim('L1 table', header.l1Offset, header.l1Entries * 8);

  let allocatedBytes = 0;
  let compressedBytes = 0;
  await forEachCluster(handle, header, {
    fileSizeBytes,
    ...(signal === undefined ? {} : { signal }),
    onTable: (offset) => usage.takeWhole('L2 table', offset, clusterSizeBytes),
    onCluster: (diskOffset, cluster) => {
      const what = `data of disk offset ${diskOffset}`;
      if (cluster.kind === 'invalid') throw corrupt(`the entry of disk offset ${diskOffset} ${cluster.why}`);
      if (cluster.kind === 'unallocated') return;
      if (cluster.kind === 'compressed') {
        // The last sector counts as a whole, also where the file ends within it.
        const fileSectors = Math.ceil(fileSizeBytes / 512) * 512;
        expectBefore(what, cluster.hostOffset, cluster.maximumBytes, fileSectors, fileSizeBytes);
        usage.takeShared(what, cluster.hostOffset, cluster.maximumBytes);
        allocatedBytes += clusterSizeBytes;
        compressedBytes += clusterSizeBytes;
        return;
      }
      if (cluster.hostOffset === 0) return;
      // Of the last cluster only the bytes of the disk have to be there.
      const needed = Math.max(1, Math.min(clusterSizeBytes, virtualSizeBytes - diskOffset));
      expectBefore(what, cluster.hostOffset, needed, fileSizeBytes, fileSizeBytes);
      usage.takeWhole(what, cluster.hostOffset, clusterSizeBytes);
      if (cluster.kind === 'data') allocatedBytes += clusterSizeBytes;
    },
  });
  await checkRefcounts(handle, header, options, usage);
  return { allocatedBytes, compressedBytes };
}

async function checkRefcounts(
  handle: FileHandle,
  header: Qcow2Header,
  { fileSizeBytes, signal }: TableOptions,
  usage: Usage,
): Promise<void> {
  const { clusterSizeBytes, refcountBits } = header;
  const perBlock = (clusterSizeBytes * 8) / refcountBits;
  const table = await readAt(handle, header.refcountTableOffset, header.refcountTableClusters * clusterSizeBytes);
  const blocks: number[] = [];
  for (let position = 0; position < table.length; position += 8) {
    const offset = readBig(table, position);
    blocks.push(offset);
    if (offset === 0) continue;
    expectInside('block of reference counts', offset, clusterSizeBytes, header, fileSizeBytes);
    usage.takeWhole('block of reference counts', offset, clusterSizeBytes);
  }
  for (let first = 0; first < usage.clusters; first += perBlock) {
    signal?.throwIfAborted();
    const offset = blocks[first / perBlock] ?? 0;
    const block = offset === 0 ? null : await readAt(handle, offset, clusterSizeBytes);
    const end = Math.min(first + perBlock, usage.clusters);
    for (let cluster = first; cluster < end; cluster++) {
      if (cluster > first && cluster % entriesAtATime === 0) {
        await setImmediate();
        signal?.throwIfAborted();
      }
      const references = usage.references(cluster);
      if (references === 0) continue;
      const counted = block === null ? 0 : readRefcount(block, cluster - first, refcountBits);
      if (counted < references) {
        throw corrupt(
          `the cluster at byte ${cluster * clusterSizeBytes} is counted ${counted} times, but its uses are ${references}`,
        );
      }
    }
  }
}

function readRefcount(block: Buffer, index: number, bits: number): number {
  switch (bits) {
    case 64:
      return readBig(block, index * 8);
    case 32:
      return block.readUInt32BE(index * 4);
    case 16:
      return block.readUInt16BE(index * 2);
    default: {
      const perByte = 8 / bits;
      const byte = block.readUInt8(Math.floor(index / perByte));
      return (byte >>> ((index % perByte) * bits)) & (2 ** bits - 1);
    }
  }
}

function expectInside(what: string, offset: number, length: number, header: Qcow2Header, fileSizeBytes: number): void {
  if (offset === 0) throw corrupt(`the ${what} lies on the header`);
  if (offset % header.clusterSizeBytes !== 0) throw corrupt(`the ${what} does not begin on a cluster boundary`);
  expectBefore(what, offset, length, fileSizeBytes, fileSizeBytes);
}

function expectBefore(what: string, offset: number, length: number, endBytes: number, fileSizeBytes: number): void {
  if (offset + length <= endBytes) return;
  throw new ImageBuilderError(
    'image.truncated',
    `the image is ${fileSizeBytes} bytes long, but its ${what} reaches to byte ${offset + length}: it was cut off, or is damaged`,
  );
}
