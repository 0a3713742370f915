import { type CraftedCluster, type CraftedImage, craftQcow2 } from './craft-qcow2.ts';
import { craftGpt, linuxData } from './craft-table.ts';

const costly = { clusterBits: 16, partitions: 120, chainClusters: 34, blobs: 16 } as const;

const clusterBytes = 2 ** costly.clusterBits;
const fileSystemClusters = costly.chainClusters + 2;
const firstCluster = 32;

/**
 * A sound qcow2 file of 1.5 MiB that makes endless work: its partitions are FAT file systems whose root folders are
 * chains over the whole partition, and every cluster of them is one of a few compressed clusters, which all partitions
 * share. No label stands anywhere.
 */
export function craftCostly(): CraftedImage {
  const sectors = (firstCluster + costly.partitions * fileSystemClusters + 1) * (clusterBytes / 512);
  const entries = Array.from({ length: costly.partitions }, (_, index) => {
    const first = ((firstCluster + index * fileSystemClusters) * clusterBytes) / 512;
    const last = first + (fileSystemClusters * clusterBytes) / 512 - 1;
    return { type: linuxData, first: BigInt(first), last: BigInt(last) };
  });
  const disk = craftGpt(entries, { sectors });
  const clusters = new Map<number, CraftedCluster>([
    [0, { data: disk.subarray(0, clusterBytes) }],
    [disk.length / clusterBytes - 1, { data: disk.subarray(-clusterBytes) }],
  ]);
  // The first partition's clusters are stored; those of the others are copies of their entries.
  const place = (partition: number, cluster: number) => firstCluster + partition * fileSystemClusters + cluster;
  clusters.set(place(0, 0), { compressed: fileSystem() });
  for (let blob = 0; blob < costly.blobs; blob++) {
    clusters.set(place(0, 1 + blob), { compressed: Buffer.alloc(clusterBytes, 0xe5).fill(blob, 100, 110) });
  }
  const image = craftQcow2({ clusterBits: costly.clusterBits, virtualSizeBytes: disk.length, clusters });
  const { bytes, l2Offset, refcountBlockOffset } = image;
  const entryOf = (cluster: number) => l2Offset + cluster * 8;
  for (let partition = 0; partition < costly.partitions; partition++) {
    for (let cluster = 0; cluster < fileSystemClusters; cluster++) {
      const source = cluster === 0 ? 0 : 1 + ((cluster - 1) % costly.blobs);
      bytes.copy(bytes, entryOf(place(partition, cluster)), entryOf(place(0, source)), entryOf(place(0, source)) + 8);
    }
  }
  const references = 0xfffe;
  for (let cluster = 5; cluster < bytes.length / clusterBytes; cluster++) {
    if (bytes.readUInt16BE(refcountBlockOffset + cluster * 2) === 1) {
      bytes.writeUInt16BE(references, refcountBlockOffset + cluster * 2);
    }
  }
  return image;
}

/** FAT32 with clusters as large as the image's, its one table in the first: 2 leads to 3, 3 to 4, and the last to 2. */
function fileSystem(): Buffer {
  const cluster = Buffer.alloc(clusterBytes);
  cluster.writeUInt16LE(512, 11);
  cluster.writeUInt8(clusterBytes / 512, 13);
  cluster.writeUInt16LE(1, 14);
  cluster.writeUInt8(1, 16);
  cluster.writeUInt8(0xf8, 21);
  cluster.writeUInt32LE(clusterBytes / 512 - 1, 36);
  cluster.writeUInt32LE(2, 44);
  cluster.write('NO NAME    FAT32   ', 71, 'latin1');
  cluster.writeUInt16LE(0xaa55, 510);
  for (let index = 0; index < costly.chainClusters; index++) {
    cluster.writeUInt32LE(index === costly.chainClusters - 1 ? 2 : index + 3, 512 + (index + 2) * 4);
  }
  return cluster;
}
