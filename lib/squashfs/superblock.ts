import { readLittle } from '../image/read-at.ts';
import { type Compressor, parseCompressor } from './compressor.ts';
import { corrupt, truncated, unsupported } from './refusals.ts';

/**
 * The superblock of SquashFS 4.0: 96 bytes, little-endian (squashfs_fs.h of the Linux kernel). Places are bytes from the
 * start of the file system.
 */
export interface Superblock {
  readonly inodeCount: number;
  /** Seconds since 1970. */
  readonly modifiedSeconds: number;
  readonly blockSizeBytes: number;
  readonly fragmentCount: number;
  readonly compressor: Compressor;
  readonly flags: number;
  readonly idCount: number;
  readonly root: Reference;
  readonly usedBytes: number;
  readonly idTable: number;
  /** Null where no entry has extended attributes. */
  readonly attributeTable: number | null;
  readonly inodeTable: number;
  readonly directoryTable: number;
  readonly fragmentTable: number | null;
  /** Null where the file system was made without the table that NFS needs. */
  readonly exportTable: number | null;
}

/** A place in a table of metadata: that of a block from the table's start, and an offset in its unpacked content. */
export interface Reference {
  readonly block: number;
  readonly offset: number;
}

export const superblockBytes = 96;
const magic = 'hsqs';
const nowhere = 2n ** 64n - 1n;

/** Bits of `flags`. */
export const superblockFlags = {
  inodesStored: 0x1,
  dataStored: 0x2,
  fragmentsStored: 0x8,
  noFragments: 0x10,
  alwaysFragments: 0x20,
  duplicatesChecked: 0x40,
  exportable: 0x80,
  attributesStored: 0x100,
  noAttributes: 0x200,
  compressorOptions: 0x400,
  idsStored: 0x800,
} as const;

/** Size of a block of metadata when it is unpacked. */
export const metadataBytes = 8192;

/**
 * Reads the superblock of a file system that has `lengthBytes` at most. Throws `image.truncated`, `image.unsupported` or
 * `image.corrupt`.
 */
export function parseSuperblock(bytes: Buffer, lengthBytes: number): Superblock {
  if (bytes.length < superblockBytes) throw truncated(`it has ${bytes.length} bytes, less than a superblock`);
  if (bytes.toString('latin1', 0, 4) !== magic) {
    throw unsupported(
      bytes.toString('latin1', 0, 4) === 'sqsh' ? 'it is a big-endian one' : 'it does not begin with "hsqs"',
    );
  }
  const version = `${bytes.readUInt16LE(28)}.${bytes.readUInt16LE(30)}`;
  if (version !== '4.0') throw unsupported(`its version is ${version}; only 4.0 is supported`);
  const blockSizeBytes = bytes.readUInt32LE(12);
  const log = bytes.readUInt16LE(22);
  if (log < 12 || log > 20 || blockSizeBytes !== 2 ** log) {
    throw corrupt(`its block size is ${blockSizeBytes} and 2 to the power of ${log}`);
  }
  const usedBytes = readLittle(bytes, 40);
  if (usedBytes > lengthBytes) throw truncated(`it claims ${usedBytes} bytes and has ${lengthBytes}`);
  const rootOffset = bytes.readUInt16LE(32);
  if (rootOffset >= metadataBytes) throw corrupt(`its root is at byte ${rootOffset} of a block`);
  const superblock = {
    inodeCount: bytes.readUInt32LE(4),
    modifiedSeconds: bytes.readUInt32LE(8),
    blockSizeBytes,
    fragmentCount: bytes.readUInt32LE(16),
    compressor: parseCompressor(bytes.readUInt16LE(20)),
    flags: bytes.readUInt16LE(24),
    idCount: bytes.readUInt16LE(26),
    root: { block: bytes.readUIntLE(34, 6), offset: rootOffset },
    usedBytes,
    idTable: readLittle(bytes, 48),
    attributeTable: placeAt(bytes, 56),
    inodeTable: readLittle(bytes, 64),
    directoryTable: readLittle(bytes, 72),
    fragmentTable: placeAt(bytes, 80),
    exportTable: placeAt(bytes, 88),
  };
  if (superblock.inodeCount === 0) throw corrupt('it has no inodes');
  if (superblock.idCount === 0) throw corrupt('it has no ids of owners');
  return superblock;
}

function placeAt(bytes: Buffer, offset: number): number | null {
  return bytes.readBigUInt64LE(offset) === nowhere ? null : readLittle(bytes, offset);
}
