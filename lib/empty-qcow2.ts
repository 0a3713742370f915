import { ImageBuilderError } from './errors.ts';

/** Writes the tables of a qcow2 file without data, as QEMU's docs/interop/qcow2.txt describes them. */

export interface EmptyQcow2 {
  /** A power of two from 64 KiB to 2 MiB. */
  readonly clusterBytes: number;
  readonly virtualSizeBytes: number;
  /** The file by which all of the disk reads; missing: it reads as zeros. */
  readonly backing?: { readonly path: string; readonly format: string };
}

/** Pieces of a file of `fileBytes`, which is zero elsewhere. */
export interface SparseFile {
  readonly parts: readonly { readonly offset: number; readonly bytes: Buffer }[];
  readonly fileBytes: number;
}

/** QEMU reads no longer L1 table (QCOW_MAX_L1_SIZE). */
export const maximumL1Bytes = 32 * 1024 * 1024;
/** QEMU's limit for the name of a backing file. */
const maximumPathBytes = 1023;
const headerBytes = 104;
/** The header extension that names the format of the backing file. */
export const backingFormatExtension = 0xe2792aca;

/**
 * Renders an empty qcow2 of version 3: the header, the table of reference counts, one block of them, and the L1 table,
 * in clusters of their own. Throws `image.too_large` where QEMU would not take the L1 table, `internal` for a path that
 * it would not take.
 */
export function renderEmptyQcow2({ clusterBytes, virtualSizeBytes, backing }: EmptyQcow2): SparseFile {
  const l1Entries = Math.ceil(virtualSizeBytes / ((clusterBytes / 8) * clusterBytes));
  if (l1Entries * 8 > maximumL1Bytes) {
    throw new ImageBuilderError('image.too_large', `a qcow2 image cannot have a disk of ${virtualSizeBytes} bytes`);
  }
  const path = Buffer.from(backing?.path ?? '');
  if (path.length > maximumPathBytes) {
    throw new ImageBuilderError('internal', `the path of the base image has more than ${maximumPathBytes} bytes`);
  }
  const clusters = 3 + Math.ceil((l1Entries * 8) / clusterBytes);

  const extensions = backing === undefined ? Buffer.alloc(0) : nameFormat(backing.format);
  const header = Buffer.alloc(headerBytes);
  header.write('QFI\xfb', 0, 'latin1');
  header.writeUInt32BE(3, 4);
  if (backing !== undefined) header.writeBigUInt64BE(BigInt(headerBytes + extensions.length), 8);
  header.writeUInt32BE(path.length, 16);
  header.writeUInt32BE(Math.log2(clusterBytes), 20);
  // A disk consists of whole sectors.
  header.writeBigUInt64BE(BigInt(Math.ceil(virtualSizeBytes / 512) * 512), 24);
  header.writeUInt32BE(l1Entries, 36);
  header.writeBigUInt64BE(BigInt(3 * clusterBytes), 40);
  header.writeBigUInt64BE(BigInt(clusterBytes), 48);
  // Clusters of the table of reference counts.
  header.writeUInt32BE(1, 56);
  // Reference counts have 2^4 bits.
  header.writeUInt32BE(4, 96);
  header.writeUInt32BE(headerBytes, 100);

  const table = Buffer.alloc(8);
  table.writeBigUInt64BE(BigInt(2 * clusterBytes));
  const counts = Buffer.alloc(clusters * 2);
  for (let cluster = 0; cluster < clusters; cluster += 1) counts.writeUInt16BE(1, cluster * 2);
  return {
    parts: [
      { offset: 0, bytes: Buffer.concat([header, extensions, path]) },
      { offset: clusterBytes, bytes: table },
      { offset: 2 * clusterBytes, bytes: counts },
    ],
    fileBytes: clusters * clusterBytes,
  };
}

/** The extension that names the format of the backing file, and the one that ends them all. */
function nameFormat(name: string): Buffer {
  const format = Buffer.from(name);
  const extensions = Buffer.alloc(8 + Math.ceil(format.length / 8) * 8 + 8);
  extensions.writeUInt32BE(backingFormatExtension, 0);
  extensions.writeUInt32BE(format.length, 4);
  format.copy(extensions, 8);
  return extensions;
}
