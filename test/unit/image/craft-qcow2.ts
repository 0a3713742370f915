import { deflateRawSync, zstdCompressSync } from 'node:zlib';

/** The content of a cluster of the crafted disk. */
export type CraftedCluster = { data: Buffer } | { compressed: Buffer } | { zero: true } | { entry: Buffer };

export interface CraftOptions {
  readonly version?: 2 | 3;
  readonly clusterBits?: number;
  readonly virtualSizeBytes?: number;
  readonly compression?: 'zlib' | 'zstd';
  readonly extendedL2?: boolean;
  readonly clusters?: ReadonlyMap<number, CraftedCluster>;
  /** Raw bytes after the header proper. */
  readonly extensions?: Buffer;
}

export interface CraftedImage {
  readonly bytes: Buffer;
  readonly l1Offset: number;
  readonly l2Offset: number;
  readonly refcountTableOffset: number;
  readonly refcountBlockOffset: number;
}

/**
 * A qcow2 file written byte by byte after the specification, with one L2 table and one block of 16-bit reference
 * counts: cluster 0 is the header, then refcount table, refcount block, L1, L2, data.
 */
export function craftQcow2(options: CraftOptions = {}): CraftedImage {
  const { version = 3, clusterBits = 16, compression = 'zlib', extendedL2 = false, clusters = new Map() } = options;
  const clusterSize = 2 ** clusterBits;
  const virtualSizeBytes = options.virtualSizeBytes ?? 16 * clusterSize;
  const [refcountTableOffset, refcountBlockOffset, l1Offset, l2Offset] = [1, 2, 3, 4].map((n) => n * clusterSize) as [
    number,
    number,
    number,
    number,
  ];
  const header = Buffer.alloc(clusterSize);
  header.write('QFI\xfb', 'latin1');
  header.writeUInt32BE(version, 4);
  header.writeUInt32BE(clusterBits, 20);
  header.writeBigUInt64BE(BigInt(virtualSizeBytes), 24);
  header.writeUInt32BE(1, 36);
  header.writeBigUInt64BE(BigInt(l1Offset), 40);
  header.writeBigUInt64BE(BigInt(refcountTableOffset), 48);
  header.writeUInt32BE(1, 56);
  if (version === 3) {
    header.writeBigUInt64BE((compression === 'zstd' ? 8n : 0n) | (extendedL2 ? 16n : 0n), 72);
    header.writeUInt32BE(4, 96);
    header.writeUInt32BE(112, 100);
    header.writeUInt8(compression === 'zstd' ? 1 : 0, 104);
  }
  options.extensions?.copy(header, version === 3 ? 112 : 72);

  const entrySize = extendedL2 ? 16 : 8;
  const l2 = Buffer.alloc(clusterSize);
  const data: Buffer[] = [];
  let position = 5 * clusterSize;
  const references = new Map<number, number>([0, 1, 2, 3, 4].map((n) => [n, 1]));
  const append = (bytes: Buffer) => {
    const offset = position;
    const padded = Buffer.alloc(Math.ceil(bytes.length / clusterSize) * clusterSize);
    bytes.copy(padded);
    data.push(padded);
    for (let at = 0; at < padded.length; at += clusterSize) references.set((position + at) / clusterSize, 1);
    position += padded.length;
    return offset;
  };
  for (const [index, cluster] of clusters) {
    const at = index * entrySize;
    if ('entry' in cluster) cluster.entry.copy(l2, at);
    else if ('zero' in cluster) l2.writeBigUInt64BE(1n, at);
    else if ('data' in cluster) {
      l2.writeBigUInt64BE((1n << 63n) | BigInt(append(cluster.data)), at);
      if (extendedL2) l2.writeUInt32BE(0xffffffff, at + 12);
    } else {
      const packed = compression === 'zstd' ? zstdCompressSync(cluster.compressed) : deflateRawSync(cluster.compressed);
      // Trailing bytes without a meaning, as in the last sector of real files.
      const offset = append(Buffer.concat([packed, Buffer.alloc(64, 0xa5)]));
      const sectors = Math.floor((offset + packed.length - 1) / 512) - Math.floor(offset / 512);
      const shift = BigInt(62 - (clusterBits - 8));
      l2.writeBigUInt64BE((1n << 62n) | (BigInt(sectors) << shift) | BigInt(offset), at);
    }
  }
  const refcountTable = Buffer.alloc(clusterSize);
  refcountTable.writeBigUInt64BE(BigInt(refcountBlockOffset), 0);
  const refcountBlock = Buffer.alloc(clusterSize);
  for (const [cluster, count] of references) refcountBlock.writeUInt16BE(count, cluster * 2);
  const l1 = Buffer.alloc(clusterSize);
  l1.writeBigUInt64BE((1n << 63n) | BigInt(l2Offset), 0);
  return {
    bytes: Buffer.concat([header, refcountTable, refcountBlock, l1, l2, ...data]),
    l1Offset,
    l2Offset,
    refcountTableOffset,
    refcountBlockOffset,
  };
}

/** A header extension, padded to eight bytes. */
export function extension(type: number, data: Buffer): Buffer {
  const bytes = Buffer.alloc(8 + Math.ceil(data.length / 8) * 8);
  bytes.writeUInt32BE(type, 0);
  bytes.writeUInt32BE(data.length, 4);
  data.copy(bytes, 8);
  return bytes;
}
