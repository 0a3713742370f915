import { mkdir, open } from 'node:fs/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readLiveStarts } from '#lib/kinds/cd/live-starts.ts';
import type { LiveStart } from '#lib/medium/medium.ts';
import { unprivilegedIds } from '../../../system/unprivileged.ts';
import { cpioFiles } from '../../boot/cpio-archive.ts';
import { temporaryFolder } from '../../image/temporary.ts';
import { writeMedium } from '../../iso9660/plain-medium.ts';

/** The layers of live sessions, as boot menus and initial ramdisks say them. */

async function read(contents: Readonly<Record<string, string | Buffer>>): Promise<LiveStart[]> {
  await using folder = await temporaryFolder();
  const [path, workDirectory] = [folder.file('medium'), folder.file('work')];
  await mkdir(workDirectory);
  const files = await writeMedium(path, contents);
  await using handle = await open(path, 'r');
  return await readLiveStarts(handle, files, { workDirectory, unprivilegedIds, signal: new AbortController().signal });
}

const layers = { 'casper/minimal.squashfs': 'x', 'casper/minimal.live.squashfs': 'x' };
const menu = (words = '') => `menuentry x {\n linux /casper/vmlinuz ${words} ---\n initrd /casper/initrd\n}\n`;
const casper = (setting: string) =>
  cpioFiles({ 'scripts/casper': '#!/bin/sh\n', 'conf/conf.d/default-layer.conf': setting });
const early = cpioFiles({ 'kernel/x86/microcode/x.bin': 'x'.repeat(5000) });
const modules = cpioFiles({ 'usr/lib/modules/6.8.0/kernel/x.ko': 'x' });
const named = casper('LAYERFS_PATH=minimal.live.squashfs\n');

const topOf = async (initrd: Buffer, more: Readonly<Record<string, string>> = {}) =>
  (await read({ 'casper/vmlinuz': 'k', 'casper/initrd': initrd, ...layers, 'boot/grub/grub.cfg': menu(), ...more }))[0]
    ?.topLayer;

const initrds: Readonly<Record<string, Buffer>> = {
  'not compressed': named,
  gzip: gzipSync(named),
  'microcode and zstd': Buffer.concat([early, zstdCompressSync(named)]),
  'microcode, modules and zstd, as Ubuntu makes them since 23.10': Buffer.concat([
    early,
    modules,
    zstdCompressSync(named),
  ]),
  'padding between the archives': Buffer.concat([early, Buffer.alloc(1024), gzipSync(named)]),
  'two members of gzip': Buffer.concat([gzipSync(modules), gzipSync(named)]),
};

for (const [what, initrd] of Object.entries(initrds)) {
  test(`the uppermost layer is read in an initial ramdisk: ${what}`, async () => {
    assert.equal(await topOf(initrd), { name: 'minimal.live.squashfs' });
  });
}

test('an initial ramdisk of casper that names no layer starts all, and others say nothing', async () => {
  assert.equal(await topOf(gzipSync(casper('# none\n'))), { name: null });
  const others = {
    'not casper': gzipSync(cpioFiles({ 'scripts/live': '', 'conf/conf.d/x': 'LAYERFS_PATH=a.squashfs' })),
    cut: gzipSync(named).subarray(0, -20),
    'no archive': Buffer.from('no archive'),
    empty: Buffer.alloc(0),
  };
  for (const [what, initrd] of Object.entries(others)) assert.is(await topOf(initrd), 'unknown', what);
});

test('the boot menu counts more than the initial ramdisk, and says folder, program and list of modules', async () => {
  const words = 'boot=casper live-media-path=/x//casper/ module=big layerfs-path=/casper/minimal.squashfs';
  const starts = await read({
    ...{ 'casper/vmlinuz': 'k', 'casper/initrd': gzipSync(named), ...layers },
    'boot/grub/grub.cfg': menu(words) + menu('boot=live'),
  });
  assert.equal(starts, [
    { program: 'casper', folder: 'x/casper', topLayer: { name: 'minimal.squashfs' }, module: 'big' },
    { program: 'live-boot', folder: null, topLayer: { name: 'minimal.live.squashfs' }, module: null },
  ]);
});

test('entries of dracut name one layer, in a folder of theirs', async () => {
  const lines = [
    'boot=live components root=live:CDLABEL=d-live rd.live.dir=live rd.live.squashimg=filesystem.squashfs',
    'root=live:CDLABEL=Fedora rd.live.image quiet',
    'rd.live.image rd.live.dir=/live/grml-full/ rd.live.squashimg=grml-full.squashfs',
  ];
  const starts = await read({
    ...{ 'casper/vmlinuz': 'k', 'casper/initrd': gzipSync(named) },
    'boot/grub/grub.cfg': lines.map(menu).join(''),
  });
  const dracut = (folder: string, name: string) => ({ program: 'live-boot', folder, topLayer: { name }, module: null });
  assert.equal(starts, [
    dracut('live', 'filesystem.squashfs'),
    dracut('LiveOS', 'squashfs.img'),
    dracut('live/grml-full', 'grml-full.squashfs'),
  ]);
});

test('of many initial ramdisks, some are looked into, and none for a medium with one layer', async () => {
  const names = Array.from({ length: 20 }, (_, index) => `casper/initrd${index}`);
  const many = Object.fromEntries(names.map((name) => [name, named]));
  const entries = names.map((name) => menu().replace('/casper/initrd', `/${name}`)).join('');
  const starts = await read({ 'casper/vmlinuz': 'k', ...many, ...layers, 'boot/grub/grub.cfg': entries });
  assert.is(starts.length, 20);
  assert.is(starts.filter(({ topLayer }) => topLayer !== 'unknown').length, 6);
  const [only] = await read({
    ...{ 'casper/vmlinuz': 'k', 'casper/initrd': named, 'casper/filesystem.squashfs': 'x' },
    'boot/grub/grub.cfg': menu(),
  });
  assert.is(only?.topLayer, 'unknown');
});

test.run();
