import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { IsoEntry } from '#lib/iso9660/tree.ts';
import { type BootFiles, followBoot } from '#lib/medium/boot-progress.ts';

/** The stages of a boot, by the parts of a medium that a machine reads. */

const MiB = 2 ** 20;

/** The files of a medium, each with its places in MiB: first and size. */
function medium(places: Readonly<Record<string, readonly (readonly [number, number])[]>>) {
  const entries = Object.entries(places).map(([path, runs]): [string, IsoEntry] => {
    const extents = runs.map(([first, size]) => ({ offsetBytes: first * MiB, sizeBytes: size * MiB }));
    const sizeBytes = extents.reduce((sum, extent) => sum + extent.sizeBytes, 0);
    return [path, { type: 'file', sizeBytes, extents, target: null, encoding: null, owner: null }];
  });
  return new Map(entries);
}

const usual = medium({
  'boot/grub/grub.cfg': [[1, 1]],
  'live/vmlinuz-6.1.0-1-amd64': [[10, 8]],
  'live/initrd.img-6.1.0-1-amd64': [
    [20, 10],
    [40, 5],
  ],
  'live/filesystem.squashfs': [[100, 50]],
  'pool/main/l/linux/linux-image.deb': [[60, 10]],
});

const none: BootFiles = { kernels: new Set(), initrds: new Set() };
const follow = (files: Parameters<typeof followBoot>[0], known = none) => followBoot(files, known);

/** Reads a stretch in pieces, as firmware does. */
function readAll(progress: ReturnType<typeof followBoot>, first: number, size: number, piece = 2048) {
  for (let at = 0; at < size * MiB; at += piece) progress.onRead(first * MiB + at, piece);
}

test('a boot goes from its menu by kernel and initial ramdisk to the system, and says so', () => {
  const progress = follow(usual);
  assert.is(progress.describe(), 'its boot loader has loaded no kernel, nor read a menu');
  progress.onRead(MiB, 512);
  assert.is(progress.describe(), 'its boot loader has loaded no kernel, after it read /boot/grub/grub.cfg');
  readAll(progress, 10, 8);
  assert.is(progress.stage, 'kernel');
  assert.match(progress.describe(), 'has loaded the kernel /live/vmlinuz-6.1.0-1-amd64 and no initial ramdisk');
  readAll(progress, 20, 10);
  assert.is(progress.stage, 'kernel', 'the second piece of the initial ramdisk is missing');
  readAll(progress, 40, 5, MiB);
  assert.is(progress.stage, 'loaded');
  assert.match(progress.describe(), 'has not opened the system /live/filesystem.squashfs');
  progress.onRead(100 * MiB, 1024);
  assert.is(progress.stage, 'loaded', 'its superblock alone is what a program reads that looks for file systems');
  progress.onRead(150 * MiB - 4096, 4096);
  assert.is(progress.stage, 'opened');
  assert.match(progress.describe(), 'has opened /live/filesystem.squashfs');
});

test('a part of a kernel is no kernel, and packages and layers read before it count for nothing', () => {
  const progress = follow(usual);
  readAll(progress, 60, 10);
  readAll(progress, 100, 50, MiB);
  readAll(progress, 10, 7);
  assert.is(progress.stage, 'begun');
  readAll(progress, 17, 1);
  readAll(progress, 20, 10);
  readAll(progress, 40, 5);
  assert.is(progress.stage, 'loaded', 'the system has to be read once more');
});

test('files count under any name that a menu of the medium gives them', () => {
  const files = medium({
    'boot/gentoo': [[1, 4]],
    'boot/gentoo.igz': [[10, 4]],
    'live/filesystem.squashfs': [[20, 4]],
  });
  const progress = follow(files, { kernels: new Set(['boot/gentoo']), initrds: new Set(['boot/gentoo.igz']) });
  readAll(progress, 1, 4);
  assert.is(progress.stage, 'kernel');
  readAll(progress, 10, 4);
  assert.is(progress.stage, 'loaded');
});

test('one kernel of several is enough, and one read may touch several files', () => {
  const progress = follow(
    medium({
      'casper/vmlinuz': [[10, 8]],
      'casper/hwe-vmlinuz': [[30, 8]],
      'casper/initrd': [[18, 4]],
      'casper/minimal.squashfs': [[50, 10]],
    }),
  );
  progress.onRead(9 * MiB, 14 * MiB);
  assert.is(progress.stage, 'loaded');
});

test('a million reads of all that there is take no time to speak of', () => {
  const progress = follow(usual);
  const start = performance.now();
  for (let count = 0; count < 1_000_000; count++) progress.onRead((count % 200) * MiB, 4096);
  assert.ok(performance.now() - start < 10_000);
});

test.run();
