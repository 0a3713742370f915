import { backingFormatExtension, maximumL1Bytes } from '../../empty-qcow2.ts';
import { ImageBuilderError } from '../../errors.ts';
import { readBig } from '../read-at.ts';
import { readFeatures } from './features.ts';
import { corrupt, cutOff, externalDataFile, unsafe, unsupported } from './refusals.ts';

/**
 * The header of a qcow2 file, as QEMU's docs/interop/qcow2.txt describes it. Features that would make QEMU open another
 * file, or that Image Builder does not understand, are refused here, before any tool sees the file.
 */
export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly clusterSizeBytes: number;
  readonly virtualSizeBytes: number;
  readonly compression: 'zlib' | 'zstd';
  /** Entries of the L2 tables carry a bitmap of 32 subclusters. */
  readonly extendedL2: boolean;
  readonly refcountBits: number;
  readonly l1Entries: number;
  readonly l1Offset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  /** Features that only a full conversion should handle, in words; empty for images as qemu-img makes them. */
  readonly unusual: readonly string[];
}

/** Bytes to read from the start of the file: the largest cluster. Header and extensions must end within it. */
export const headerAreaBytes = 2 * 1024 * 1024;

const magic = 0x514649fb;
const minimumClusterBits = 9;
const maximumClusterBits = 21;
/** Offsets are signed 64-bit numbers in QEMU. */
const maximumOffset = 2n ** 63n - 1n;
const maximumRefcountTableBytes = 8 * 1024 * 1024;

const extension = {
  end: 0,
  backingFormat: backingFormatExtension,
  bitmaps: 0x23852875,
  encryption: 0x0537be77,
  dataFile: 0x44415441,
} as const;

/**
 * Parses the header from the first bytes of a file (`headerAreaBytes` of them, or the whole file where it is shorter).
 * Throws `image.unsafe` for backing files and external data files, `image.unsupported` for versions, encryption,
 * snapshots, bitmaps and features beyond what can be rebuilt, `image.too_large` for a disk over
 * `maximumVirtualBytes`, `image.corrupt` for values that contradict the format, `image.truncated` for a file that ends
 * within the header. Offsets of tables are checked by `checkTables`.
 */
export function parseHeader(
  head: Buffer,
  options: { readonly maximumVirtualBytes: number; readonly allowBackingFile?: boolean },
): Qcow2Header {
  const version = readVersion(head);
  if (readBig(head, 8) !== 0 && options.allowBackingFile !== true) {
    throw unsafe(
      'the qcow2 image names a backing file, which would read another file of the worker; flatten it first with qemu-img convert -O qcow2',
    );
  }
  const encryption = head.readUInt32BE(32);
  if (encryption !== 0) {
    throw unsupported(
      `the qcow2 image is encrypted (${encryption === 1 ? 'AES' : encryption === 2 ? 'LUKS' : `method ${encryption}`})`,
    );
  }
  const features = readFeatures(head, version);
  const clusterBits = head.readUInt32BE(20);
  if (clusterBits < minimumClusterBits || clusterBits > maximumClusterBits) {
    throw corrupt(
      `its cluster size is 2^${clusterBits} bytes; 2^${minimumClusterBits} to 2^${maximumClusterBits} are possible`,
    );
  }
  const clusterSizeBytes = 2 ** clusterBits;
  if (features.extendedL2 && clusterBits < 14) throw corrupt('clusters below 16 KiB cannot have subclusters');
  if (features.headerLength > clusterSizeBytes)
    throw corrupt(`its header claims ${features.headerLength} bytes, more than a cluster`);

  const snapshots = head.readUInt32BE(60);
  if (snapshots !== 0) {
    throw unsupported(
      `the qcow2 image holds ${snapshots} internal snapshot${snapshots === 1 ? '' : 's'}; drop them first with qemu-img convert -O qcow2`,
    );
  }
  // QEMU wants the place of the table of snapshots on a boundary also where there are none.
  const snapshotsOffset = head.readBigUInt64BE(64);
  if (snapshotsOffset > maximumOffset || snapshotsOffset % BigInt(clusterSizeBytes) !== 0n) {
    throw corrupt(`its table of snapshots cannot begin at byte ${snapshotsOffset}`);
  }
  const virtualSizeBytes = readVirtualSize(head, options.maximumVirtualBytes);
  const l1Entries = head.readUInt32BE(36);
  const bytesPerL2 = (clusterSizeBytes / (features.extendedL2 ? 16 : 8)) * clusterSizeBytes;
  if (l1Entries * 8 > maximumL1Bytes) throw corrupt(`its L1 table claims ${l1Entries} entries`);
  if (l1Entries < Math.ceil(virtualSizeBytes / bytesPerL2)) {
    throw corrupt(`its L1 table of ${l1Entries} entries is too short for a disk of ${virtualSizeBytes} bytes`);
  }
  const refcountTableClusters = head.readUInt32BE(56);
  if (refcountTableClusters === 0) throw corrupt('it has no table of reference counts');
  if (refcountTableClusters * clusterSizeBytes > maximumRefcountTableBytes) {
    throw corrupt(`its table of reference counts claims ${refcountTableClusters} clusters`);
  }
  readExtensions(head.subarray(features.headerLength, clusterSizeBytes), options.allowBackingFile === true);
  return {
    version,
    clusterBits,
    clusterSizeBytes,
    virtualSizeBytes,
    compression: features.compression,
    extendedL2: features.extendedL2,
    refcountBits: features.refcountBits,
    l1Entries,
    l1Offset: readBig(head, 40),
    refcountTableOffset: readBig(head, 48),
    refcountTableClusters,
    unusual: features.unusual,
  };
}

function readVersion(head: Buffer): 2 | 3 {
  if (head.length < 8 || head.readUInt32BE(0) !== magic) throw unsupported('the file is not a qcow2 image');
  const version = head.readUInt32BE(4);
  if (version === 1)
    throw unsupported('the image is a qcow image of version 1; convert it with qemu-img convert -O qcow2');
  if (version !== 2 && version !== 3) throw unsupported(`the image is a qcow2 image of the unknown version ${version}`);
  if (head.length < (version === 2 ? 72 : 104)) throw cutOff(head.length);
  return version;
}

function readVirtualSize(head: Buffer, maximumBytes: number): number {
  const sizeBytes = readBig(head, 24);
  if (sizeBytes > maximumBytes) {
    throw new ImageBuilderError(
      'image.too_large',
      `the disk in the image is ${head.readBigUInt64BE(24)} bytes large; at most ${maximumBytes} are allowed`,
    );
  }
  if (sizeBytes === 0) throw unsupported('the qcow2 image holds an empty disk of 0 bytes');
  if (sizeBytes % 512 !== 0) throw corrupt(`its disk of ${sizeBytes} bytes does not consist of whole sectors`);
  return sizeBytes;
}

function readExtensions(area: Buffer, allowBackingFile: boolean): void {
  let position = 0;
  while (position + 8 <= area.length) {
    const type = area.readUInt32BE(position);
    if (type === extension.end) return;
    const length = area.readUInt32BE(position + 4);
    const end = position + 8 + length;
    if (end > area.length) throw corrupt(`a header extension claims ${length} bytes and leaves the header's cluster`);
    if (type === extension.dataFile) throw externalDataFile();
    if (type === extension.encryption) throw unsupported('the qcow2 image carries an encryption header');
    if (type === extension.backingFormat && !allowBackingFile)
      throw unsafe('the qcow2 image names the format of a backing file');
    if (type === extension.bitmaps) {
      throw unsupported('the qcow2 image holds dirty bitmaps; drop them first with qemu-img convert -O qcow2');
    }
    position += 8 + Math.ceil(length / 8) * 8;
  }
}
