import type { ChangedFile } from '../../changed-file.ts';
import { readAt } from '../../read-at.ts';
import { type Cluster, readEntry } from '../entry.ts';
import type { Qcow2Header } from '../header.ts';
import { readL1 } from '../tables.ts';
import type { FileSpace } from './space.ts';

/**
 * The entries of a qcow2 file's L2 tables, to be changed in about the order of the disk: one table is in memory, and
 * written when another one is wanted. Clusters are numbered in the order of the disk.
 */
export interface Entries {
  /** Clusters of the disk that one table describes. */
  readonly perTable: number;
  /** False where no cluster of this cluster's table has an entry. */
  hasTable(cluster: number): boolean;
  read(cluster: number): Promise<Cluster>;
  /** Sets the 64 bits of an entry; makes its table where there is none. */
  write(cluster: number, entry: bigint): Promise<void>;
  /** Writes everything that is still in memory. */
  flush(): Promise<void>;
}

/** Bit 63 of an entry: its cluster has this one reference. */
export const soleReference = 1n << 63n;

/** Opens the tables of a file without extended entries, whose tables have been checked. */
export async function openEntries(
  file: ChangedFile,
  header: Qcow2Header,
  space: FileSpace,
  fileSizeBytes: number,
): Promise<Entries> {
  const { handle } = file;
  const { clusterSizeBytes } = header;
  const perTable = clusterSizeBytes / 8;
  const offsets = await readL1(handle, header, fileSizeBytes);
  let current: { index: number; table: Buffer; isChanged: boolean } | null = null;

  const flush = async () => {
    if (current === null || !current.isChanged) return;
    await file.write(current.table, offsets[current.index] ?? 0);
    current.isChanged = false;
  };
  const open = async (index: number) => {
    if (current?.index === index) return current;
    await flush();
    let offset = offsets[index] ?? 0;
    const isNew = offset === 0;
    if (isNew) {
      offset = await space.takeCluster();
      offsets[index] = offset;
      const entry = Buffer.alloc(8);
      entry.writeBigUInt64BE(soleReference | BigInt(offset));
      await file.write(entry, header.l1Offset + index * 8);
    }
    const table = isNew ? Buffer.alloc(clusterSizeBytes) : await readAt(handle, offset, clusterSizeBytes);
    current = { index, table, isChanged: isNew };
    return current;
  };

  return {
    perTable,
    hasTable: (cluster) => (offsets[Math.floor(cluster / perTable)] ?? 0) !== 0,
    async read(cluster) {
      const { table } = await open(Math.floor(cluster / perTable));
      return readEntry(table, (cluster % perTable) * 8, header);
    },
    async write(cluster, entry) {
      const opened = await open(Math.floor(cluster / perTable));
      opened.table.writeBigUInt64BE(entry, (cluster % perTable) * 8);
      opened.isChanged = true;
    },
    flush,
  };
}
