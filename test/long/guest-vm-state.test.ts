import { copyFile, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { workerArchitecture } from '#lib/architecture.ts';
import { findKernel } from '#lib/guest/vm/kernel.ts';
import type { VmSettings } from '#lib/guest/vm/prepare.ts';
import { createVmGuest } from '#lib/guest/vm/vm-guest.ts';
import { createLog } from '#lib/log.ts';
import { failure, type OpenedDisk, output } from '../system/guest-disk.ts';
import { makeTestImage } from '../system/guest-image.ts';
import { emulator, openVmTests } from '../system/guest-vm-disk.ts';
import { withKilledWorker } from '../system/guest-worker.ts';

/** Vms that go on with the saved state of one that has booted; as root, for QEMU to be a user of its own. */

const vm = await openVmTests('vm-state', { asRoot: true });
const image = await makeTestImage(vm.directory, 'image', {
  files: { '/etc/secret-of-the-image': 'nobody reads this' },
});

/** A worker with a cache of its own. */
function newWorker(name: string) {
  const lines: { readonly message: string; readonly restored?: boolean; readonly peak_memory_bytes?: number }[] = [];
  const log = createLog({ level: 'info', write: (line) => lines.push(JSON.parse(line)) });
  const cacheDirectory = join(vm.directory, name);
  const guest = (settings: Partial<VmSettings> = {}) =>
    createVmGuest({ ...vm.settings, vmCpus: 1, cacheDirectory, ...settings, log });
  const states = join(cacheDirectory, 'vm/states');
  /** Opens the image, runs a script in it, and says whether its vm has gone on with a state. */
  const build = async (text = 'true', settings: Partial<VmSettings> = {}) => {
    let result = '';
    const before = lines.length;
    await vm.withDisk(image, async (disk) => {
      await using session = await disk.open({}, guest(settings));
      result = await output(session, text);
      await session.close();
    });
    const since = lines.slice(before);
    const ready = since.find(({ message }) => message === 'the vm is ready');
    const peakBytes = since.find(({ message }) => message === 'the vm has ended')?.peak_memory_bytes;
    const messages = since.map(({ message }) => message);
    return { result, restored: ready?.restored, peakBytes, messages, told: JSON.stringify(since) };
  };
  /** The largest file of the cache is the state: the others are short notes. */
  const statePath = async () => {
    const paths = (await readdir(join(states, 'blobs'))).map((name) => join(states, 'blobs', name));
    const sizes = await Promise.all(paths.map(async (path) => (await stat(path)).size));
    const largest = Math.max(...sizes);
    return largest > 2 ** 20 ? (paths[sizes.indexOf(largest)] ?? null) : null;
  };
  return { guest, lines, states, build, statePath };
}

const saved = 'saved the state of a vm that has booted';
const useless = 'a saved state of the vm is of no use, so it boots';

const isSaving = async (states: string) => (await readdir(join(states, 'parts')).catch(() => [])).length > 0;

/** Writes into a file without a trace in its times, as a worn disk does. */
async function damage(path: string): Promise<void> {
  const { atime, mtime } = await stat(path);
  await using file = await open(path, 'r+');
  await file.write(Buffer.alloc(4096, 0xff), 0, 4096, 4096);
  await file.utimes(atime, mtime);
}

const worker = newWorker('cache');
const random = 'cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | md5sum';

test('the second vm saves a state, and vms that go on with it have random numbers and a time of their own', async () => {
  const first = await worker.build(random);
  assert.is(first.restored, false);
  assert.is(await worker.statePath(), null, 'a single build pays nothing');
  const second = await worker.build(random);
  assert.equal([second.restored, second.messages.includes(saved)], [true, true], second.told);
  const beforeMs = Date.now();
  const third = await worker.build(`${random}; date +%s`);
  assert.equal([third.restored, third.messages.includes(saved)], [true, false], third.told);
  const words = [first, second, third].flatMap(({ result }) => result.split('\n').slice(0, 3));
  assert.is(new Set(words).size, 9, words.join('\n'));
  const seconds = Number(third.result.split('\n').at(-1));
  assert.ok(seconds >= Math.floor(beforeMs / 1000) && seconds <= Date.now() / 1000, third.result);
});

test('a vm that goes on with a state takes no memory for what is empty in it', async () => {
  const { restored, peakBytes } = await worker.build();
  assert.is(restored, true);
  assert.ok(peakBytes !== undefined && peakBytes < vm.settings.vmMemoryBytes, String(peakBytes));
});

test('a state has nothing of an image or a build, and only the worker can read it', async () => {
  const path = await worker.statePath();
  assert.ok(path);
  const state = await readFile(path);
  for (const text of ['nobody reads this', 'build-1', 'build-2', basename(vm.directory)]) {
    assert.not.ok(state.includes(text), text);
  }
  assert.is((await stat(worker.states)).mode & 0o077, 0);
});

test('a vm with more or less memory, or with another kernel, boots', async () => {
  const { imagePath } = await findKernel('');
  const copy = join(vm.directory, basename(imagePath));
  await copyFile(imagePath, copy);
  for (const other of [{ vmMemoryBytes: 320 * 2 ** 20 }, { vmKernelPath: copy }]) {
    assert.is((await worker.build('true', other)).restored, false, JSON.stringify(other));
  }
});

test('vms that go on with one state at the same time', async () => {
  const built = await Promise.all([worker.build(random), worker.build(random)]);
  assert.equal([...new Set(built.map(({ result }) => result))].length, 2);
  assert.not(worker.lines.some(({ message }) => message === useless));
});

test('a damaged state is forgotten, and made anew once', async () => {
  for (const isLast of [false, true]) {
    await damage((await worker.statePath()) ?? '');
    const fallen = await worker.build();
    assert.equal([fallen.restored, fallen.messages.includes(useless)], [false, true], fallen.told);
    assert.is((await worker.build()).restored, !isLast);
  }
});

test('a build that is cancelled while it saves leaves nothing, and the next one saves', async () => {
  const other = newWorker('cancelled');
  await other.build();
  await vm.withDisk(image, async (disk: OpenedDisk) => {
    const controller = new AbortController();
    const opening = failure(disk.open({ signal: controller.signal }, other.guest()));
    while (!(await isSaving(other.states))) await sleep(1);
    const emulatorId = await emulator(disk);
    controller.abort(new Error('cancelled'));
    assert.is(((await opening) as Error).message, 'cancelled');
    assert.not.ok((await readdir('/proc')).includes(String(emulatorId)));
  });
  assert.is(await other.statePath(), null);
  assert.is((await other.build()).restored, true);
});

test('a worker that is killed while it saves leaves no vm and no state, and the next one saves', async () => {
  const other = newWorker('killed');
  await other.build();
  await vm.withDisk(image, async (disk: OpenedDisk) => {
    let emulatorId = 0;
    const until = async () => {
      while (!(await isSaving(other.states))) await sleep(1);
      emulatorId = await emulator(disk);
    };
    const settings = { ...vm.settings, vmCpus: 1, cacheDirectory: join(vm.directory, 'killed') };
    await withKilledWorker(disk, { vm: settings, until });
    while ((await readdir('/proc')).includes(String(emulatorId))) await sleep(10);
    await rm(join(disk.workDirectory, 'guest'), { recursive: true });
  });
  assert.is(await other.statePath(), null);
  const next = await other.build();
  assert.equal([next.restored, next.messages.includes(saved)], [true, true], next.told);
  // The part of the killed worker has been replaced.
  assert.not(await isSaving(other.states));
});

test.after(vm.remove);

// Only emulated machines of this architecture have states.
if (workerArchitecture === 'amd64') test.run();
