import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import type {
  Guest,
  GuestDisk,
  GuestOptions,
  GuestPlace,
  GuestScript,
  GuestSession,
  PartitionedDisk,
} from '#lib/guest/guest.ts';
import { assertNothingLeft, observe } from '../../lab/leaks.ts';
import { makeTestImage, type TestImage, type TestImageOptions } from './guest-image.ts';

/** Images opened by a guest, and a look at what is left of each. */

export type OpenedDisk = Begun<PartitionedDisk>;

export type Begun<Disk extends GuestDisk> = Disk & {
  /** Opens the disk, by the guest of these tests or another; missing options are as simple as possible. */
  open(options?: Partial<GuestOptions>, guest?: Guest): Promise<GuestSession>;
};

export interface GuestTests {
  /** A folder for these tests only. */
  readonly directory: string;
  /** Makes a fresh overlay on `image`. `end` checks that it is whole, and that nothing else is left. */
  begin(image: TestImage): Promise<OpenedDisk & { end(): Promise<void> }>;
  /** The same for a disk that `make` makes, whose overlay it makes too. */
  beginDisk<Disk extends GuestDisk>(
    make: (place: GuestPlace) => Promise<Disk>,
  ): Promise<Begun<Disk> & { end(): Promise<void> }>;
  /** Runs `body` between `begin` and `end`. */
  withDisk(image: TestImage, body: (disk: OpenedDisk) => Promise<void>): Promise<void>;
  withImage(options: TestImageOptions, body: (disk: OpenedDisk) => Promise<void>): Promise<void>;
  remove(): Promise<void>;
}

export async function openGuestTests(name: string, guestIn: (directory: string) => Guest): Promise<GuestTests> {
  const directory = await mkdtemp(join(tmpdir(), `imagebuilder-${name}-`));
  const guest = guestIn(directory);
  let builds = 0;

  const beginDisk: GuestTests['beginDisk'] = async (make) => {
    builds += 1;
    // A comma, which has a meaning to QEMU.
    const buildDirectory = join(directory, `build,${builds}`);
    const workDirectory = join(buildDirectory, 'work');
    await mkdir(workDirectory, { recursive: true });
    const before = await observe(buildDirectory);
    const overlayPath = join(buildDirectory, 'overlay.qcow2');
    const disk = await make({ overlayPath, workDirectory, buildId: `build-${builds}` });
    const signal = new AbortController().signal;
    return {
      ...disk,
      open: async (options = {}, by = guest) =>
        await by.open(disk, { signal, onNotice: () => {}, binds: [], ...options }),
      async end() {
        await assertNothingLeft(before, { emptyFolders: [workDirectory] });
        await exec('qemu-img', ['check', '-q', overlayPath]);
      },
    };
  };

  const begin: GuestTests['begin'] = ({ path, partitions }) =>
    beginDisk(async (place) => {
      await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', path, '-F', 'qcow2', place.overlayPath]);
      return { ...place, base: { path, format: 'qcow2' }, partitions };
    });

  const withDisk: GuestTests['withDisk'] = async (image, body) => {
    const disk = await begin(image);
    await body(disk);
    await disk.end();
  };

  return {
    ...{ directory, begin, beginDisk, withDisk },
    async withImage(options, body) {
      await withDisk(await makeTestImage(directory, `image-${builds + 1}`, options), body);
    },
    remove: async () => await rm(directory, { recursive: true, force: true }),
  };
}

/** The output of a script. */
export async function output(session: GuestSession, text: string, rest: Partial<GuestScript> = {}): Promise<string> {
  return (await session.run({ name: 'test', text, ...rest })).stdout.trim();
}

/** Whatever the promise rejects with. */
export async function failure(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => assert.unreachable('it should have failed'),
    (error: unknown) => error,
  );
}

export function assertCode(error: unknown, code: ImageBuilderError['code'], message: RegExp): void {
  assert.instance(error, ImageBuilderError);
  assert.is((error as ImageBuilderError).code, code, (error as Error).message);
  assert.match((error as Error).message, message);
}

/** A script that never stops writing; `onBusy` is called once, when it has begun. */
export const busy = (onBusy: () => void): GuestScript => ({
  name: 'busy',
  text: 'echo busy >&3; while :; do dd if=/dev/urandom of=/var/log/busy bs=64k count=64 conv=fsync 2>/dev/null; done',
  onStatusLine: onBusy,
});
