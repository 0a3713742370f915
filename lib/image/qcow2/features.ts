import { corrupt, cutOff, externalDataFile, unsupported } from './refusals.ts';

const incompatible = { dirty: 1n, corrupt: 2n, dataFile: 4n, compressionType: 8n, extendedL2: 16n } as const;
const knownIncompatible = 31n;
const knownCompatible = 1n;
/** Auto-clear bit: the external data file reads as the disk. */
const rawDataFile = 2n;

/** The fields of the header beyond sizes and places. */
export interface Features {
  readonly headerLength: number;
  readonly refcountBits: number;
  readonly compression: 'zlib' | 'zstd';
  readonly extendedL2: boolean;
  readonly unusual: readonly string[];
}

/**
 * Reads the fields that only version 3 has; version 2 equals their defaults. Throws `image.unsafe` for an external data
 * file, `image.unsupported` for unknown features, `image.corrupt` for images marked as damaged or not closed and for
 * contradictions, `image.truncated` where the file ends within its header.
 */
export function readFeatures(head: Buffer, version: 2 | 3): Features {
  if (version === 2) return { headerLength: 72, refcountBits: 16, compression: 'zlib', extendedL2: false, unusual: [] };
  const bits = head.readBigUInt64BE(72);
  if ((bits & incompatible.dataFile) !== 0n) throw externalDataFile();
  if ((bits & incompatible.corrupt) !== 0n) throw corrupt('it is marked as corrupt');
  if ((bits & incompatible.dirty) !== 0n) {
    throw corrupt('it was not closed by what wrote it last (dirty bit); repair it with qemu-img check -r all');
  }
  const unknown = bits & ~knownIncompatible;
  if (unknown !== 0n) {
    throw unsupported(
      `the qcow2 image needs features that are not known here (incompatible bits 0x${unknown.toString(16)})`,
    );
  }
  const refcountOrder = head.readUInt32BE(96);
  if (refcountOrder > 6) throw corrupt(`its reference counts claim a width of 2^${refcountOrder} bits`);
  const headerLength = head.readUInt32BE(100);
  if (headerLength < 104 || headerLength % 8 !== 0)
    throw corrupt(`its header claims a length of ${headerLength} bytes`);
  if (headerLength > head.length) throw cutOff(head.length);
  const compressionType = headerLength > 104 ? head.readUInt8(104) : 0;
  if (compressionType > 1) throw unsupported(`the qcow2 image is compressed by the unknown method ${compressionType}`);
  if (((bits & incompatible.compressionType) !== 0n) !== (compressionType !== 0)) {
    throw corrupt('its compression type and its feature bits contradict each other');
  }
  const extendedL2 = (bits & incompatible.extendedL2) !== 0n;
  const compatibleBits = head.readBigUInt64BE(80);
  const autoclearBits = head.readBigUInt64BE(88);
  // QEMU clears auto-clear bits that it does not know, but refuses this one.
  if ((autoclearBits & rawDataFile) !== 0n) throw corrupt('it claims an external raw data file, and has none');
  const unusual = [
    ...(extendedL2 ? ['extended L2 entries'] : []),
    ...((compatibleBits & knownCompatible) !== 0n ? ['lazy reference counts'] : []),
    ...((compatibleBits & ~knownCompatible) !== 0n ? ['unknown compatible features'] : []),
    ...(refcountOrder !== 4 ? [`reference counts of ${2 ** refcountOrder} bits`] : []),
    ...(autoclearBits !== 0n ? ['auto-clear features'] : []),
  ];
  return {
    headerLength,
    refcountBits: 2 ** refcountOrder,
    compression: compressionType === 1 ? 'zstd' : 'zlib',
    extendedL2,
    unusual,
  };
}
