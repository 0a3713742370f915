import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { statfsSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeLiveMedia } from '../../lab/images/live-media.ts';
import { failure } from '../failure.ts';
import { openGuestBuilds } from './guest-builds.ts';

/** The disk of the work directory gets full while a CD image is written: it had room when the build claimed it. */

const { single, codename } = await makeLiveMedia(baseImageCache, () => {});
/** More than the room that is left. */
const content = randomBytes(20 * 2 ** 20).toString('base64');
const packages = [{ name: 'cd-sample', files: { '/opt/sample': content }, fields: {} }];
const builds = await openGuestBuilds({ imageType: 'cd', path: single, codename }, packages);
const disk = join(builds.directory, 'disk');
await mkdir(disk);
await exec('mount', ['-t', 'tmpfs', '-o', 'size=8G,mode=711', 'tmpfs', disk]);
const workDirectory = join(disk, 'work');
// Without a reserve, nothing stops a build before the disk is full.
const environment = { IMAGEBUILDER_WORK_DIRECTORY: workDirectory, IMAGEBUILDER_DISK_RESERVE: '0' };

test.after(async () => {
  await exec('umount', [disk]);
  await builds[Symbol.asyncDispose]();
});

/** All names of files below a folder. */
async function namesBelow(folder: string): Promise<string[]> {
  return await readdir(folder, { recursive: true }).catch(() => []);
}

/** Leaves the file system so much room as soon as a file of this name is in it; resolves when it has. */
async function fillAt(name: string, roomMiB: number, signal: AbortSignal): Promise<void> {
  while (!(await namesBelow(workDirectory)).some((path) => path.endsWith(name))) await sleep(5, undefined, { signal });
  // The kernel refuses a size below that which is taken at the moment.
  for (let isFull = false; !isFull; ) {
    const { blocks, bfree, bsize } = statfsSync(disk);
    const size = Math.ceil(((blocks - bfree) * bsize) / 1024) + 1024 * roomMiB;
    isFull = spawnSync('mount', ['-o', `remount,size=${size}k`, disk]).status === 0;
    signal.throwIfAborted();
  }
}

/** By the file that appears when the stage begins or before, and the room that is left then. */
const stages: Readonly<Record<string, readonly [appears: string, roomMiB: number, message: RegExp]>> = {
  'the changes are packed': ['/changes-0.squashfs', 4, /^mksquashfs found no space left on the device/],
  'the new layer is written': ['/layer-0.squashfs', 4, /^no space is left on the device/],
  'the medium is written': [
    // xorriso is too quick to be waited for. Before it there is room for all, and too little for its medium.
    '/changes-0.squashfs',
    100,
    /^xorriso found no space left on the device.*: the new medium takes \d.*, and it has \d/,
  ],
};

for (const [what, [appears, roomMiB, message]] of Object.entries(stages)) {
  test(`a disk that gets full while ${what} is named with its room and the need, and nothing is left`, async () => {
    const stop = new AbortController();
    const filling = fillAt(appears, roomMiB, stop.signal).catch(() => undefined);
    const error = await failure(builds.build('host', ['cd-sample'], { environment }));
    stop.abort();
    await filling;
    await exec('mount', ['-o', 'remount,size=8G', disk]);
    assert.is(error.code, 'disk.full', error.message);
    assert.ok(error.retryable);
    assert.ok(error.message.includes(` in ${workDirectory}, where the build needs about `), error.message);
    assert.match(error.message, message);
    assert.equal(await namesBelow(join(builds.directory, 'store')), []);
  });
}

test('the same build goes through once there is room again', async () => {
  await builds.build('host', ['cd-sample'], { environment });
});

test.run();
