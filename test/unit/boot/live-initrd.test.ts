import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type LiveInitrd, readLiveInitrd } from '#lib/boot/live-initrd.ts';
import { testIds } from '../fetch/with-server.ts';
import { temporaryFolder } from '../image/temporary.ts';
import { cpioArchive, cpioFiles } from './cpio-archive.ts';

const { signal } = new AbortController();

async function read(bytes: Buffer): Promise<LiveInitrd> {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'initrd');
  await writeFile(path, bytes);
  await using file = await open(path, 'r');
  const options = { workDirectory: folder.path, unprivilegedIds: testIds, signal };
  return await readLiveInitrd(file, { offset: 0, sizeBytes: bytes.length }, options);
}

const early = cpioArchive(['kernel/x86/microcode/GenuineIntel.bin'], 5000);
const modules = { 'usr/lib/modules/6.8.0-31-generic/kernel/fs/overlayfs/overlay.ko.zst': 'x' };
const casper = {
  'scripts/casper': '#!/bin/sh\n',
  'conf/uuid.conf': '50c98eb4-4c0f-4c1a-82d2-4234cf187d50\n',
  'conf/conf.d/casperize.conf': 'export CASPER_GENERATE_UUID=1\n',
  'conf/conf.d/default-boot-to-casper.conf': 'if [ -z "$BOOT" ]; then\n    export BOOT=casper\nfi\n',
  'conf/conf.d/default-layer.conf': 'LAYERFS_PATH=minimal.standard.live.squashfs\n',
  ...modules,
};

test("the initial ramdisk of Ubuntu's media names its program, its medium and its layer", async () => {
  for (const bytes of [
    Buffer.concat([early, zstdCompressSync(cpioFiles(casper))]),
    // A later archive counts, as for the kernel.
    Buffer.concat([cpioFiles({ 'conf/uuid.conf': 'other' }), gzipSync(cpioFiles(casper))]),
  ]) {
    assert.equal(await read(bytes), {
      ...{
        program: 'casper',
        uuid: '50c98eb4-4c0f-4c1a-82d2-4234cf187d50',
        topLayer: 'minimal.standard.live.squashfs',
      },
      isDefault: true,
      ...{ kernels: new Set(['6.8.0-31-generic']), modules: new Set(['overlay']), damage: null, unknown: null },
    });
  }
});

test("the initial ramdisk of Debian's live media accepts any medium, and takes all layers", async () => {
  const { program, uuid, topLayer, isDefault, kernels } = await read(
    gzipSync(cpioFiles({ './scripts/live': 'x', './lib/modules/6.1.0-18-amd64/kernel/fs/isofs/isofs.ko': 'x' })),
  );
  assert.equal([program, uuid, topLayer, isDefault], ['live-boot', null, null, false]);
  assert.equal([...kernels], ['6.1.0-18-amd64']);
});

test('an initial ramdisk of dracut starts a live system where it has the module for that', async () => {
  const names = {
    'usr/lib/dracut/modules.txt': 'x',
    'usr/lib/modules/6.12.0-9-amd64/kernel/fs/isofs/isofs.ko.xz': 'x',
  };
  const programOf = async (more: object) => (await read(zstdCompressSync(cpioFiles({ ...names, ...more })))).program;
  assert.is(await programOf({}), null);
  for (const folder of ['sbin', 'usr/bin']) {
    assert.is(await programOf({ [`${folder}/dmsquash-live-root`]: 'x' }), 'dracut-live');
  }
});

test('an initial ramdisk of an installed system has no program that starts a live one', async () => {
  const { program, uuid } = await read(
    cpioFiles({ 'scripts/local': 'x', 'scripts/casper-bottom/01': 'x', constructor: 'x', ...modules }),
  );
  assert.equal([program, uuid], [null, null]);
});

test('settings are read as a shell would read them, the last file counting', async () => {
  const settings = (one: string, other: string) =>
    read(cpioFiles({ 'conf/conf.d/b': other, 'conf/conf.d/a': one, 'conf/uuid.conf': '', 'conf/conf.d/c': 'X=1' }));
  assert.is((await settings('LAYERFS_PATH=a', "export LAYERFS_PATH='b c'")).topLayer, 'b c');
  assert.is((await settings('LAYERFS_PATH=a', 'LAYERFS_PATH=')).topLayer, null);
  assert.is((await settings('# LAYERFS_PATH=a', 'ALAYERFS_PATH=a')).topLayer, null);
});

test('a setting of more than some KB is passed over, and what follows is read', async () => {
  const { topLayer, uuid } = await read(
    cpioFiles({ 'conf/conf.d/a': `${'#'.repeat(100_000)}\nLAYERFS_PATH=a`, 'conf/uuid.conf': 'id' }),
  );
  assert.equal([topLayer, uuid], [null, 'id']);
});

test('a cut initial ramdisk is not whole, and one of an unknown form is not looked into', async () => {
  const whole = gzipSync(cpioFiles(casper));
  assert.match((await read(whole.subarray(0, whole.length - 20))).damage ?? '', /ends in the middle/);
  assert.match((await read(Buffer.concat([early, Buffer.from('??')]))).unknown ?? '', /unknown form/);
});

test.run();
