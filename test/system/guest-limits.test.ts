import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { exec } from '#lib/exec.ts';
import type { GuestSession } from '#lib/guest/guest.ts';
import type { GuestLimits } from '#lib/guest/host/cgroup.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { createLog } from '#lib/log.ts';
import { guestGroups } from '../../lab/leaks.ts';
import { assertCode, failure, openGuestTests } from './guest-disk.ts';
import { makeTestImage } from './guest-image.ts';
import { testLimits } from './guest-limits-suite.ts';
import { unprivilegedIds } from './unprivileged.ts';

/** A cgroup holds the processes inside an image of the host guest to their limits, and is removed afterwards. */

const log = createLog({ level: 'error' });
const limits: GuestLimits = {
  ...loadConfig({}).guest,
  guestMemoryBytes: 96 * 2 ** 20,
  guestProcesses: 64,
  guestCpus: 0.5,
};
const guestWith = (others: GuestLimits) => createHostGuest({ limits: others, ids: unprivilegedIds, log });
const guest = guestWith(limits);
const tests = await openGuestTests('limits', () => guest);
const image = await makeTestImage(tests.directory, 'plain');

async function inGuest(
  body: (session: GuestSession, workDirectory: string) => Promise<void>,
  by = guest,
): Promise<void> {
  await tests.withDisk(image, async (disk) => {
    await using session = await disk.open({}, by);
    assert.ok((await guestGroups(disk.workDirectory)).length > 0, 'this machine gives no cgroup to test with');
    await body(session, disk.workDirectory);
  });
}

const memoryMessage = /more memory than the 96 MiB that IMAGEBUILDER_GUEST_MEMORY allows/;
testLimits({ tests, image, guest, memoryMessage });

test('scripts within their limits notice nothing of them', async () => {
  await inGuest(async (session) => {
    const { stdout } = await session.run({
      name: 'script',
      text: 'dd if=/dev/zero of=/root/file bs=1M count=32; echo done',
    });
    assert.match(stdout, 'done');
    await session.close();
  });
});

test('a guest that met a limit says so also when its group is gone', async () => {
  await inGuest(async (session, workDirectory) => {
    // Ended from outside, together with the guest: the script itself would go on.
    const text = '(x=0123456789abcdef; while :; do x="$x$x"; done); sleep 600';
    assertCode(await failure(session.run({ name: 'script', text })), 'guest.limit', memoryMessage);
    while ((await guestGroups(workDirectory)).length > 0) await sleep(50);
    assertCode(await failure(session.run({ name: 'script', text: 'true' })), 'guest.limit', memoryMessage);
  });
});

test('files in a tmpfs of the image count as memory', async () => {
  await inGuest(async (session) => {
    const text = 'dd if=/dev/zero of=/tmp/file bs=1M count=512; sleep 600';
    assertCode(await failure(session.run({ name: 'script', text })), 'guest.limit', memoryMessage);
  });
});

test('writing more to the disk than fits into the memory is no fault', async () => {
  const text = 'dd if=/dev/urandom of=/root/file bs=1M count=20';
  const write = async (session: GuestSession) => {
    await session.run({ name: 'script', text });
    await session.close();
  };
  await inGuest(write, guestWith({ ...limits, guestMemoryBytes: 12 * 2 ** 20 }));
});

test('processors are held to the share that is set', async () => {
  await inGuest(async (_, workDirectory) => {
    const read = async (group: string, file: string) => await readFile(join(group, file), 'utf8').catch(() => '');
    const values = await Promise.all(
      (await guestGroups(workDirectory)).flatMap((group) => [read(group, 'cpu.cfs_quota_us'), read(group, 'cpu.max')]),
    );
    assert.ok(
      values.some((value) => /^50000\b/.test(value)),
      values.join(),
    );
  });
});

test('without cgroups the log says so, and no single process takes all the memory', async () => {
  await tests.withDisk(image, async (disk) => {
    const { stdout, stderr } = await exec('unshare', [
      ...['--mount', 'sh', '-c', 'umount --recursive /sys/fs/cgroup && exec "$@"', 'without', process.execPath],
      ...[join(import.meta.dirname, 'guest-without-cgroup.ts'), JSON.stringify(disk)],
    ]);
    assert.match(stdout, 'the script devours inside the image failed');
    assert.match(stderr, 'what runs inside images is not held to these limits');
  });
});

test.after(tests.remove);

test.run();
