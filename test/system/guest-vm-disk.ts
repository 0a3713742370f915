import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import type { GuestDisk, GuestOptions, GuestScript, GuestSession } from '#lib/guest/guest.ts';
import { guestDirectory, guestName } from '#lib/guest/identity.ts';
import type { VmSettings } from '#lib/guest/vm/prepare.ts';
import { createVmGuest } from '#lib/guest/vm/vm-guest.ts';
import { createLog } from '#lib/log.ts';
import { assertNothingLeft, observe } from '../../lab/leaks.ts';
import { makeTestImage, type TestImage, type TestImageOptions } from './guest-image.ts';
import { becomeNobody } from './guest-vm-worker.ts';
import { unprivilegedIds } from './unprivileged.ts';

/** Small images opened in vms by a process without privileges. */

export interface OpenedDisk extends GuestDisk {
  /** Opens the disk; missing options are as simple as possible. */
  open(options?: Partial<GuestOptions>, settings?: Partial<VmSettings>): Promise<GuestSession>;
}

export interface VmTests {
  /** A folder for these tests only. */
  readonly directory: string;
  readonly settings: VmSettings;
  /** Runs `body` with a fresh overlay on `image`, and afterwards checks that it is whole and nothing else is left. */
  withDisk(image: TestImage, body: (disk: OpenedDisk) => Promise<void>): Promise<void>;
  withImage(options: TestImageOptions, body: (disk: OpenedDisk) => Promise<void>): Promise<void>;
  remove(): Promise<void>;
}

export const log = createLog({ level: 'error' });

export async function openVmTests(name: string, options: { readonly asRoot?: true } = {}): Promise<VmTests> {
  // This guest exists to need no privileges: hardly a test of it has any.
  if (options.asRoot !== true) becomeNobody();
  const directory = await mkdtemp(join(tmpdir(), `imagebuilder-${name}-`));
  const settings: VmSettings = {
    cacheDirectory: join(directory, 'cache'),
    vmKernelPath: '',
    vmMemoryBytes: 384 * 1024 ** 2,
    vmSwapBytes: 256 * 1024 ** 2,
    guestProcesses: 256,
    vmCpus: 2,
    vmNetwork: false,
    unprivilegedIds,
  };
  let builds = 0;

  async function withDisk(image: TestImage, body: (disk: OpenedDisk) => Promise<void>): Promise<void> {
    builds += 1;
    // A comma, which has a meaning to QEMU.
    const buildDirectory = join(directory, `build,${builds}`);
    const workDirectory = join(buildDirectory, 'work');
    await mkdir(workDirectory, { recursive: true });
    const before = await observe(buildDirectory);
    const overlayPath = join(buildDirectory, 'overlay.qcow2');
    await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', image.path, '-F', 'qcow2', overlayPath]);
    const disk: GuestDisk = {
      overlayPath,
      base: { path: image.path, format: 'qcow2' },
      partitions: image.partitions,
      workDirectory,
      buildId: `build-${builds}`,
    };
    await body({
      ...disk,
      open: async (options = {}, others = {}) =>
        await createVmGuest({ ...settings, ...others, log }).open(disk, {
          signal: new AbortController().signal,
          onNotice: () => {},
          binds: [],
          ...options,
        }),
    });
    await assertNothingLeft(before, { emptyFolders: [workDirectory] });
    await exec('qemu-img', ['check', '-q', overlayPath]);
  }

  return {
    directory,
    settings,
    withDisk,
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

/** The process of QEMU on this disk. */
export async function emulator(disk: GuestDisk): Promise<number> {
  for (const id of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(id)) continue;
    const command = await readFile(`/proc/${id}/cmdline`, 'utf8').catch(() => '');
    const words = command.split('\0');
    if (command.startsWith('qemu-system') && words.includes(guestName(guestDirectory(disk.workDirectory)))) {
      return Number(id);
    }
  }
  throw new Error('there is no vm');
}
