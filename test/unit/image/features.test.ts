import { open, truncate, writeFile } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { rawDisk } from '#lib/image/disk.ts';
import { detectFileSystem } from '#lib/image/file-system.ts';
import type { FileSystem } from '#lib/image/partition.ts';
import { memoryDisk } from './craft-table.ts';
import { temporaryFolder } from './temporary.ts';

const MiB = 2 ** 20;
const folder = await temporaryFolder();

/** A file system as mke2fs makes it, in a partition of `sizeMiB`. */
async function ext(options: readonly string[], change?: readonly string[], sizeMiB = 16): Promise<FileSystem | null> {
  const path = folder.file('ext');
  await writeFile(path, '');
  await truncate(path, 16 * MiB);
  await exec('mke2fs', ['-q', '-F', '-t', 'ext4', ...options, path], { input: 'y\n' });
  if (change !== undefined) await exec('debugfs', ['-w', ...change.flatMap((line) => ['-R', line]), path]);
  await using file = await open(path);
  return await detectFileSystem(rawDisk(file, 16 * MiB), 0, sizeMiB * MiB);
}

const names = (found: FileSystem | null) => found?.features?.map(({ name }) => name) ?? [];

test('an ext4 as it is made everywhere asks for nothing unusual', async () => {
  const found = await ext([]);
  assert.is(found?.features, undefined);
  assert.is(found?.fault, undefined);
});

test('features of ext4 that some kernels lack are named, also bits that nobody knows', async () => {
  assert.equal(names(await ext(['-O', 'quota,casefold'])), ['casefold', 'quota']);
  assert.equal(names(await ext(['-O', 'quota,project,encrypt,verity,bigalloc', '-b', '4096'])), [
    'quota',
    'project',
    'verity',
  ]);
  assert.equal(names(await ext(['-b', '65536'])), ['blocks of 65536 bytes']);
  assert.equal(names(await ext([], ['feature FEATURE_I20'])), ['unknown incompat bits 0x100000']);
});

test('an ext4 that no kernel opens for writing from this disk alone says why', async () => {
  assert.is((await ext([], ['feature read-only']))?.fault, 'it is marked read-only');
  assert.is((await ext([], ['set_super_value journal_inum 0']))?.fault, 'its journal lies on another device');
  assert.is((await ext([], undefined, 15))?.fault, `it has ${16 * MiB} bytes, and its partition only ${15 * MiB}`);
});

test('features of XFS and btrfs are named with the kernel that brought them', async () => {
  const xfs = Buffer.alloc(68 * 1024);
  xfs.write('XFSB');
  xfs.writeUInt32BE(4096, 4);
  xfs.writeBigUInt64BE(16n, 8);
  xfs.writeBigUInt64BE(8n, 48);
  xfs.writeUInt16BE(5, 100);
  xfs.writeUInt32BE(0x101 | 0x8000, 216);
  const found = await detectFileSystem(memoryDisk(xfs), 0, xfs.length);
  assert.equal(found?.features, [
    { name: 'metadir', since: '6.13' },
    { name: 'unknown incompat bits 0x8000', since: null },
  ]);
  xfs.writeBigUInt64BE(0n, 48);
  assert.match((await detectFileSystem(memoryDisk(xfs), 0, xfs.length))?.fault ?? '', 'log');

  const btrfs = Buffer.alloc(68 * 1024);
  const at = 64 * 1024;
  btrfs.write('_BHRfS_M', at + 0x40);
  btrfs.writeBigUInt64LE(1n, at + 0x88);
  btrfs.writeUInt32LE(4096, at + 0x90);
  btrfs.writeBigUInt64LE(BigInt(btrfs.length), at + 0xd1);
  btrfs.writeUInt32LE(0x4000, at + 0xbc);
  btrfs.writeUInt32LE(0x8, at + 0xb4);
  const other = await detectFileSystem(memoryDisk(btrfs), 0, btrfs.length);
  assert.equal(names(other), ['raid-stripe-tree', 'block-group-tree']);
  assert.is(other?.fault, undefined);
  btrfs.writeBigUInt64LE(2n, at + 0x88);
  assert.is((await detectFileSystem(memoryDisk(btrfs), 0, btrfs.length))?.fault, 'it spans 2 devices');
});

test('contents that are never opened are recognised by their marks', async () => {
  const cases: readonly (readonly [FileSystem['type'], number, string])[] = [
    ['f2fs', 1024, '\x10\x20\xf5\xf2'],
    ['mdraid', 4096, '\xfc\x4e\x2b\xa9'],
    ['mdraid', 256 * 1024 - 65_536, '\xfc\x4e\x2b\xa9'],
    ['bcachefs', 4120, '\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef'],
    ['zfs', 16 * 1024 + 100, 'pool_guid'],
    ['ntfs', 3, 'NTFS    '],
    ['jfs', 32_768, 'JFS1'],
    ['lvm', 512, `LABELONE${'\0'.repeat(16)}LVM2 001`],
  ];
  for (const [type, offset, mark] of cases) {
    const disk = Buffer.alloc(256 * 1024);
    disk.write(mark, offset, 'latin1');
    assert.is((await detectFileSystem(memoryDisk(disk), 0, disk.length))?.type, type);
  }
});

test.after(async () => await folder[Symbol.asyncDispose]());

test.run();
