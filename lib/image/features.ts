import type { FileSystem, KernelFeature } from './partition.ts';
import { readBig, readLittle } from './read-at.ts';

/**
 * The demands of a superblock on a kernel that opens it for writing: Linux's fs/ext4/ext4.h,
 * fs/xfs/libxfs/xfs_format.h and include/uapi/linux/btrfs.h. Features that every kernel since 5.4 has are left out.
 */

type Inspected = Pick<FileSystem, 'fault' | 'features'>;

interface FeatureBit extends KernelFeature {
  readonly bit: number;
}

/** Pages of x86-64, and mostly of arm64. */
const pageBytes = 4096;

const ext = {
  incompatKnown: 0x3f7de,
  readOnlyCompatKnown: 0x1b77f,
  incompat: [
    { bit: 0x2_0000, name: 'casefold', since: null },
    { bit: 0x1, name: 'compression', since: null },
    { bit: 0x1000, name: 'dirdata', since: null },
  ],
  readOnlyCompat: [
    { bit: 0x100, name: 'quota', since: null },
    { bit: 0x2000, name: 'project', since: null },
    { bit: 0x8000, name: 'verity', since: '5.4' },
    { bit: 0x1_0000, name: 'orphan_file', since: '5.15' },
    { bit: 0x80, name: 'snapshot', since: null },
    { bit: 0x800, name: 'replica', since: null },
    { bit: 0x4000, name: 'shared_blocks', since: null },
  ],
  readOnly: 0x1000,
  verity: 0x8000,
  has64Bit: 0x80,
} as const;

/** `superblock` is that of an ext file system, `sizeBytes` what the partition has. */
export function inspectExt(superblock: Buffer, sizeBytes: number): Inspected {
  const incompat = superblock.readUInt32LE(0x60);
  const readOnlyCompat = superblock.readUInt32LE(0x64);
  const blockBytes = 2 ** (10 + Math.min(superblock.readUInt32LE(0x18), 20));
  const high = (incompat & ext.has64Bit) === 0 ? 0 : superblock.readUInt32LE(0x150);
  const ownBytes = (high * 2 ** 32 + superblock.readUInt32LE(4)) * blockBytes;
  const hasJournal = (superblock.readUInt32LE(0x5c) & 0x4) !== 0;
  const journalElsewhere = hasJournal && superblock.readUInt32LE(0xe0) === 0;
  const fault = (readOnlyCompat & ext.readOnly) !== 0 ? 'it is marked read-only' : undefined;
  return inspected(fault ?? (journalElsewhere ? 'its journal lies on another device' : tooLarge(ownBytes, sizeBytes)), [
    ...named(incompat, ext.incompat, ext.incompatKnown, 'incompat'),
    ...named(readOnlyCompat, ext.readOnlyCompat, ext.readOnlyCompatKnown, 'ro_compat'),
    ...largeBlocks(blockBytes, '6.19'),
  ]);
}

const xfs = {
  incompat: [
    { bit: 0x8, name: 'bigtime', since: '5.10' },
    { bit: 0x20, name: 'nrext64', since: '5.19' },
    { bit: 0x40, name: 'exchange', since: '6.10' },
    { bit: 0x80, name: 'parent', since: '6.10' },
    { bit: 0x100, name: 'metadir', since: '6.13' },
    { bit: 0x200, name: 'zoned', since: '6.15' },
    { bit: 0x400, name: 'zone_gaps', since: '6.15' },
  ],
  incompatKnown: 0x7ff,
  readOnlyCompat: [{ bit: 0x8, name: 'inobtcount', since: '5.10' }],
  readOnlyCompatKnown: 0xf,
} as const;

/** `superblock` is that of XFS. */
export function inspectXfs(superblock: Buffer, sizeBytes: number): Inspected {
  const blockBytes = superblock.readUInt32BE(4);
  const logElsewhere = readBig(superblock, 48) === 0;
  const realTime = readBig(superblock, 16) > 0 && (superblock.readUInt32BE(216) & 0x300) === 0;
  const fault = logElsewhere ? 'its log lies on another device' : undefined;
  const features: KernelFeature[] =
    (superblock.readUInt16BE(100) & 0xf) < 5 ? [{ name: 'version 4', since: null }] : [];
  if (features.length === 0) {
    features.push(
      ...named(superblock.readUInt32BE(216), xfs.incompat, xfs.incompatKnown, 'incompat'),
      ...named(superblock.readUInt32BE(212), xfs.readOnlyCompat, xfs.readOnlyCompatKnown, 'ro_compat'),
    );
  }
  return inspected(
    fault ??
      (realTime ? 'a part of it lies on another device' : tooLarge(readBig(superblock, 8) * blockBytes, sizeBytes)),
    [...features, ...largeBlocks(blockBytes, '6.12')],
  );
}

const btrfs = {
  incompat: [
    { bit: 0x1000, name: 'zoned', since: '5.12' },
    { bit: 0x2000, name: 'extent-tree-v2', since: null },
    { bit: 0x4000, name: 'raid-stripe-tree', since: '6.7' },
    { bit: 0x1_0000, name: 'simple-quota', since: '6.7' },
  ],
  incompatKnown: 0x17fff,
  readOnlyCompat: [
    { bit: 0x4, name: 'verity', since: '5.15' },
    { bit: 0x8, name: 'block-group-tree', since: '6.1' },
  ],
  readOnlyCompatKnown: 0xf,
  /** BTRFS_SUPER_FLAG_SEEDING, in the upper half of the flags. */
  seeding: 0x1,
} as const;

/** `superblock` is that of btrfs. */
export function inspectBtrfs(superblock: Buffer, sizeBytes: number): Inspected {
  const devices = readLittle(superblock, 0x88);
  const seed = (superblock.readUInt32LE(0x3c) & btrfs.seeding) !== 0;
  const fault = devices > 1 ? `it spans ${devices} devices` : seed ? 'it is a seed, which is read-only' : undefined;
  const upper = superblock.readUInt32LE(0xc0) === 0 ? [] : [{ name: 'unknown incompat bits', since: null }];
  return inspected(fault ?? tooLarge(readLittle(superblock, 0xd1), sizeBytes), [
    ...named(superblock.readUInt32LE(0xbc), btrfs.incompat, btrfs.incompatKnown, 'incompat'),
    ...named(superblock.readUInt32LE(0xb4), btrfs.readOnlyCompat, btrfs.readOnlyCompatKnown, 'compat_ro'),
    ...upper,
    ...largeBlocks(superblock.readUInt32LE(0x90), null),
  ]);
}

/** The fault of a file system that says it is larger than its partition. */
export function tooLarge(ownBytes: number, partitionBytes: number): string | undefined {
  if (ownBytes <= partitionBytes) return;
  return `it has ${ownBytes} bytes, and its partition only ${partitionBytes}`;
}

function inspected(fault: string | undefined, features: readonly KernelFeature[]): Inspected {
  return { ...(fault === undefined ? {} : { fault }), ...(features.length === 0 ? {} : { features }) };
}

function named(bits: number, table: readonly FeatureBit[], known: number, field: string): KernelFeature[] {
  const found = table.filter(({ bit }) => (bits & bit) !== 0).map(({ name, since }) => ({ name, since }));
  const rest = table.reduce((left, { bit }) => left & ~bit, (bits & ~known) >>> 0) >>> 0;
  return rest === 0 ? found : [...found, { name: `unknown ${field} bits 0x${rest.toString(16)}`, since: null }];
}

function largeBlocks(blockBytes: number, since: string | null): KernelFeature[] {
  return blockBytes <= pageBytes ? [] : [{ name: `blocks of ${blockBytes} bytes`, since }];
}
