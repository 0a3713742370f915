import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ImageBuilderError } from '#lib/errors.ts';
import { sweepGuest } from '#lib/guest/sweep.ts';
import { sweepWorkDirectories } from '#lib/pipeline/work-directory.ts';
import { assertNothingLeft, observe } from '../../lab/leaks.ts';
import { assertCode, busy, failure } from './guest-disk.ts';
import { makeTestImage } from './guest-image.ts';
import { emulator, log, openVmTests } from './guest-vm-disk.ts';
import { withKilledWorker } from './guest-worker.ts';

/** Vms that break, hang or have lost their worker. */

const vm = await openVmTests('vm-loss');
const { directory, settings, withDisk } = vm;
const plainImage = await makeTestImage(directory, 'plain');

test('with the vm killed, the script in progress fails and nothing hangs or stays', async () => {
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    const id = await emulator(disk);
    const error = await failure(session.run(busy(() => process.kill(id, 'SIGKILL'))));
    assertCode(error, 'guest.failed', /the vm has ended by itself/);
    assertCode(await failure(session.close()), 'guest.failed', /the vm has ended by itself/);
  });
});

test('a vm that hangs does not keep the guest from ending', async () => {
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    const id = await emulator(disk);
    const limited = { ...busy(() => process.kill(id, 'SIGSTOP')), timeoutMs: 3000 };
    assert.match(((await failure(session.run(limited))) as Error).message, /ran out of time/);
  });
});

test('a kernel that panics is heard of, with its last words', async () => {
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    const text = 'mkdir /tmp/proc; mount -t proc proc /tmp/proc; echo c >/tmp/proc/sysrq-trigger; sleep 600';
    const error = await failure(session.run({ name: 'crash', text }));
    assertCode(error, 'guest.failed', /the vm has ended by itself/);
    assert.match((error as ImageBuilderError).logTail.join('\n'), /sysrq triggered crash/);
  });
});

test('a worker killed in the middle of a script leaves nothing but its folder', async () => {
  await withDisk(plainImage, async (disk) => {
    const before = await observe(disk.workDirectory);
    await withKilledWorker(disk, { vm: settings, beforeEnd: () => emulator(disk) });
    await assertNothingLeft(before);
    await rm(join(disk.workDirectory, 'guest'), { recursive: true });
  });
});

test('a vm that has outlived its worker is ended by the sweep of the next one', async () => {
  await withDisk(plainImage, async (disk) => {
    const session = await disk.open();
    const id = await emulator(disk);
    const environment = (await readFile(`/proc/${id}/environ`, 'utf8')).split('\0').filter((entry) => entry !== '');
    await session[Symbol.asyncDispose]();
    // One that the kernel has not killed with its worker, and that has stopped to listen.
    const command = ['qemu-system-x86_64', '-M', 'none', '-nodefaults', '-display', 'none', '-S'];
    const stray = spawn('env', ['-i', ...environment, ...command], { stdio: 'ignore' });
    const gone = once(stray, 'exit');
    await once(stray, 'spawn');
    const isThere = async () => (await readFile(`/proc/${stray.pid}/cmdline`, 'utf8')).startsWith('qemu-system');
    while (!(await isThere())) await sleep(20);
    process.kill(stray.pid ?? 0, 'SIGSTOP');
    const root = join(disk.workDirectory, '..');
    await sweepWorkDirectories(root, { beforeRemoval: (path) => sweepGuest(path, { log }), log });
    assert.equal(await gone, [null, 'SIGKILL']);
    assert.equal(await readdir(root), ['overlay.qcow2']);
  });
});

test.after(vm.remove);

test.run();
