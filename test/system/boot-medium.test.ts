import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ImageBuilderError } from '#lib/errors.ts';
import { bootTrial, describeWay } from '#lib/guest/vm/trial.ts';
import { mediumWays } from '#lib/kinds/cd/medium-ways.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeLiveMedia } from '../../lab/images/live-media.ts';
import { assertNothingLeft, observe } from '../../lab/leaks.ts';
import { breakLoader, changeMedium } from './change-medium.ts';
import { failure } from './guest-disk.ts';
import { unprivilegedIds } from './unprivileged.ts';

/** Trials of media that do not boot, as far as their boot loaders go: each takes seconds. */

const directory = await mkdtemp(join(tmpdir(), 'boot-medium-'));
const workDirectory = join(directory, 'work');
await mkdir(workDirectory);
const { single } = await makeLiveMedia(baseImageCache, () => {});

const menu = (kernel: string, timeout: number) => `set timeout=${timeout}
menuentry "Live" {
	linux	${kernel} boot=live
	initrd	/live/initrd
}
`;

async function trial(path: string, how: string, signal = new AbortController().signal) {
  const ways = await mediumWays(path, { maximumBytes: 2 ** 40 });
  const way = ways.find((each) => describeWay(each) === how);
  assert.ok(way, ways.map(describeWay).join());
  return await bootTrial({ path, way, accelerator: 'tcg', workDirectory, unprivilegedIds, signal });
}

async function fault(path: string, how: string): Promise<ImageBuilderError> {
  const error = (await failure(trial(path, how))) as ImageBuilderError;
  assert.is(error.code, 'image.unbootable');
  assert.equal(await readdir(workDirectory), []);
  return error;
}

test('a hybrid medium boots in four ways', async () => {
  const ways = await mediumWays(single, { maximumBytes: 2 ** 40 });
  const names = ['by BIOS from a CD', 'by BIOS from a disk', 'by UEFI from a CD', 'by UEFI from a disk'];
  assert.equal(ways.map(describeWay), names);
});

test('a menu whose kernel is missing is named with what the boot loader has said', async () => {
  const medium = await changeMedium(single, join(directory, 'kernel.iso'), {
    '/boot/grub/grub.cfg': menu('/live/gone', 0),
  });
  for (const how of ['by BIOS from a CD', 'by UEFI from a disk']) {
    const { message, logTail } = await fault(medium, how);
    assert.match(
      message,
      `${how} the image does not boot: its boot loader has loaded no kernel, after it read /boot/grub`,
    );
    assert.ok(logTail?.some((line) => line.includes('/live/gone')));
  }
});

test('a boot loader for BIOS that stops the processor is known by its silence', async () => {
  const medium = await breakLoader(single, join(directory, 'loader.iso'), {
    at: 0,
    bytes: Buffer.from('faf4ebfc', 'hex'),
  });
  const { message } = await fault(medium, 'by BIOS from a CD');
  assert.match(message, /has loaded no kernel, nor read a menu; it has done nothing for \d+ seconds/);
});

test('a menu that waits for a key gets one, and a boot loader that has loaded kernel and initial ramdisk is enough for the second way', async () => {
  const medium = await changeMedium(single, join(directory, 'waits.iso'), {
    '/boot/grub/grub.cfg': menu('/live/vmlinuz', -1),
  });
  assert.is((await trial(medium, 'by BIOS from a disk')).until, 'enough');
});

test('a trial that is cancelled leaves nothing', async () => {
  const before = await observe(directory);
  const controller = new AbortController();
  const reason = new Error('cancelled');
  const timer = setTimeout(() => controller.abort(reason), 4_000);
  assert.is(await failure(trial(single, 'by BIOS from a CD', controller.signal)), reason);
  clearTimeout(timer);
  await assertNothingLeft(before, { emptyFolders: [workDirectory] });
});

test('the machine of a worker that is killed in the middle of a trial ends with it', async () => {
  const before = await observe(directory);
  const worker = spawn(process.execPath, [join(import.meta.dirname, 'boot-medium-worker.ts'), single, workDirectory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(worker.stdout, 'data');
  await sleep(3_000);
  worker.kill('SIGKILL');
  await once(worker, 'exit');
  await rm(join(workDirectory, 'guest'), { recursive: true });
  await assertNothingLeft(before, { emptyFolders: [workDirectory] });
});

test.after(() => rm(directory, { recursive: true, force: true }));

test.run();
