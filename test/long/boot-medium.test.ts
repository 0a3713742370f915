import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { writeCpio } from '#lib/guest/vm/cpio.ts';
import { bootTrial } from '#lib/guest/vm/trial.ts';
import { mediumWays } from '#lib/kinds/cd/medium-ways.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeLiveMedia } from '../../lab/images/live-media.ts';
import { breakLoader, changeMedium } from '../system/change-medium.ts';
import { unprivilegedIds } from '../system/unprivileged.ts';

/** Trials of media whose initial ramdisk fails: each takes minutes. */

const directory = await mkdtemp(join(tmpdir(), 'boot-medium-'));
const workDirectory = join(directory, 'work');
await mkdir(workDirectory);
const { single } = await makeLiveMedia(baseImageCache, () => {});

const menu = (words: string) => `set timeout=0
menuentry "Live" {
	linux	/live/vmlinuz ${words}
	initrd	/live/initrd
}
`;

/** Boots the medium by BIOS from a CD, and resolves with the error of the trial. */
async function fault(path: string): Promise<ImageBuilderError> {
  const [way] = await mediumWays(path, { maximumBytes: 2 ** 40 });
  assert.ok(way);
  const { signal } = new AbortController();
  const error = await bootTrial({ path, way, accelerator: 'tcg', workDirectory, unprivilegedIds, signal }).then(
    () => assert.unreachable('it has booted'),
    (thrown: unknown) => thrown,
  );
  assert.equal(await readdir(workDirectory), []);
  if (!(error instanceof ImageBuilderError)) throw error;
  assert.is(error.code, 'image.unbootable');
  return error;
}

test('an initial ramdisk that does not find its medium is named by its own words on a serial console', async () => {
  const words = 'boot=live live-media-path=/nowhere console=ttyS0';
  const medium = await changeMedium(single, join(directory, 'loud.iso'), { '/boot/grub/grub.cfg': menu(words) });
  const { message, logTail } = await fault(medium);
  assert.match(message, 'its initial ramdisk /live/initrd has not opened the system /live/filesystem.squashfs');
  assert.match(message, '(initramfs)');
  assert.ok(logTail?.some((line) => line.includes('Unable to find a medium containing a live file system')));
});

test('without a console it is known by its silence', async () => {
  const words = 'boot=live live-media-path=/nowhere quiet';
  const medium = await changeMedium(single, join(directory, 'silent.iso'), { '/boot/grub/grub.cfg': menu(words) });
  const { message } = await fault(medium);
  assert.match(message, 'its initial ramdisk /live/initrd has not opened the system /live/filesystem.squashfs');
  assert.match(message, /it has done nothing for \d+ seconds/);
});

test('a boot loader that computes in circles is known by its reads', async () => {
  // GRUB finds its second half by the boot information table of mkisofs(1).
  const medium = await breakLoader(single, join(directory, 'loader.iso'), { at: 8, bytes: Buffer.alloc(56) });
  const { message } = await fault(medium);
  assert.match(message, /has loaded no kernel, nor read a menu; it has computed for \d+ seconds and read nothing new/);
});

test('an initial ramdisk that switches the machine off is no system that is up', async () => {
  const initrd = writeCpio([
    { kind: 'folder', path: 'bin', mode: 0o755 },
    { kind: 'file', path: 'bin/busybox', mode: 0o755, content: await readFile('/bin/busybox') },
    { kind: 'file', path: 'init', mode: 0o755, content: Buffer.from('#!/bin/busybox sh\n/bin/busybox poweroff -f\n') },
  ]);
  const { message } = await fault(await changeMedium(single, join(directory, 'off.iso'), { '/live/initrd': initrd }));
  assert.match(message, 'its initial ramdisk switches the machine off');
});

test.after(() => rm(directory, { recursive: true, force: true }));

test.run();
