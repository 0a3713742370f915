import { corrupt, unsupported } from './refusals.ts';

/** The compressors of SquashFS that a build can read and write. */
export type Compressor = 'gzip' | 'xz' | 'lz4' | 'zstd';

/** Names by the number in the superblock. */
const names: readonly (string | undefined)[] = [undefined, 'gzip', 'lzma', 'lzo', 'xz', 'lz4', 'zstd'];
const known: readonly string[] = ['gzip', 'xz', 'lz4', 'zstd'] satisfies readonly Compressor[];

/** Number of a compressor in the superblock. */
export function numberOf(compressor: Compressor): number {
  return names.indexOf(compressor);
}

/** Throws `image.unsupported` for lzma and lzo, and for numbers that SquashFS 4.0 does not have. */
export function parseCompressor(id: number): Compressor {
  const name = names[id];
  if (name !== undefined && isCompressor(name)) return name;
  throw unsupported(
    name === undefined
      ? `its compressor ${id} is unknown`
      : `its compressor ${name} is not supported; gzip, xz, zstd and lz4 are`,
  );
}

function isCompressor(name: string): name is Compressor {
  return known.includes(name);
}

/** Length of each compressor's options behind the superblock. */
const optionBytes: Readonly<Record<Compressor, number>> = { gzip: 8, xz: 8, lz4: 8, zstd: 4 };
/** The filters of xz in the order of their bits, by their names for -Xbcj. */
const filters = ['x86', 'powerpc', 'ia64', 'arm', 'armthumb', 'sparc'] as const;
const strategies = ['default', 'filtered', 'huffman_only', 'run_length_encoded', 'fixed'] as const;

/** Options of a compressor that are not its defaults. */
export interface CompressorOptions {
  /** Arguments by which mksquashfs and sqfstar compress in the same way. */
  readonly arguments: readonly string[];
  /** The dictionary of xz in bytes, which the kernel reserves when it mounts; null for others. */
  readonly dictionaryBytes: number | null;
}

/**
 * Reads the options of a compressor (kernel Documentation/filesystems/squashfs.rst and squashfs-tools' *_wrapper.h);
 * null for none, which are the defaults. Throws `image.corrupt` for those that no compressor has.
 */
export function parseCompressorOptions(
  compressor: Compressor,
  bytes: Buffer | null,
  blockSizeBytes: number,
): CompressorOptions {
  if (bytes !== null && bytes.length !== optionBytes[compressor]) {
    throw corrupt(`its options for ${compressor} have ${bytes.length} bytes`);
  }
  const common = ['-comp', compressor];
  if (compressor === 'xz') return xzOptions(common, bytes, blockSizeBytes);
  return {
    arguments: bytes === null ? common : [...common, ...ownOptions(compressor, bytes)],
    dictionaryBytes: null,
  };
}

function xzOptions(common: readonly string[], bytes: Buffer | null, blockSizeBytes: number): CompressorOptions {
  if (bytes === null) return { arguments: common, dictionaryBytes: blockSizeBytes };
  const dictionaryBytes = bytes.readUInt32LE(0);
  // One bit, or two neighbours: 2^n or 2^n + 2^(n+1), as the kernel demands.
  const lowest = dictionaryBytes & -dictionaryBytes;
  const shaped = dictionaryBytes === lowest || dictionaryBytes === 3 * lowest;
  if (!shaped || dictionaryBytes < 4096 || dictionaryBytes > blockSizeBytes) {
    throw corrupt(`its dictionary for xz has ${dictionaryBytes} bytes`);
  }
  const flags = bytes.readUInt32LE(4);
  const chosen = filters.filter((_, bit) => (flags & (1 << bit)) !== 0);
  return {
    arguments: [
      ...common,
      ...['-Xdict-size', String(dictionaryBytes)],
      ...(chosen.length === 0 ? [] : ['-Xbcj', chosen.join(',')]),
    ],
    dictionaryBytes,
  };
}

function ownOptions(compressor: Exclude<Compressor, 'xz'>, bytes: Buffer): string[] {
  if (compressor === 'lz4') {
    if (bytes.readUInt32LE(0) !== 1) throw corrupt(`its version ${bytes.readUInt32LE(0)} of lz4 is unknown`);
    return (bytes.readUInt32LE(4) & 1) === 0 ? [] : ['-Xhc'];
  }
  const level = bytes.readUInt32LE(0);
  const highest = compressor === 'gzip' ? 9 : 22;
  if (level < 1 || level > highest) throw corrupt(`its level ${level} of ${compressor} does not exist`);
  const common = ['-Xcompression-level', String(level)];
  if (compressor === 'zstd') return common;
  const window = bytes.readUInt16LE(4);
  if (window < 8 || window > 15) throw corrupt(`its window ${window} of gzip does not exist`);
  const bits = bytes.readUInt16LE(6);
  const chosen = strategies.filter((_, bit) => (bits & (1 << bit)) !== 0);
  return [
    ...common,
    ...['-Xwindow-size', String(window)],
    ...(chosen.length === 0 ? [] : ['-Xstrategy', chosen.join(',')]),
  ];
}
