import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import type { GuestSession } from '#lib/guest/guest.ts';
import type { GuestLimits } from '#lib/guest/host/cgroup.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { createLog } from '#lib/log.ts';
import { assertNothingLeft, guestGroups, observe } from '../../lab/leaks.ts';
import { makeTestImage } from './guest-image.ts';
import { unprivilegedIds } from './unprivileged.ts';

/** A cgroup holds the processes inside an image of the host guest to their limits, and is removed afterwards. */

const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-limits-'));
const image = await makeTestImage(directory, 'plain');
const log = createLog({ level: 'error' });
const limits: GuestLimits = {
  ...loadConfig({}).guest,
  guestMemoryBytes: 96 * 2 ** 20,
  guestProcesses: 64,
  guestCpus: 0.5,
};
let builds = 0;

test.after(async () => {
  await rm(directory, { recursive: true, force: true });
});

async function inGuest(
  body: (session: GuestSession, workDirectory: string) => Promise<void>,
  guestLimits = limits,
): Promise<void> {
  builds += 1;
  const workDirectory = join(directory, `build-${builds}`, 'work');
  await mkdir(workDirectory, { recursive: true });
  const before = await observe(workDirectory);
  const overlayPath = join(workDirectory, '..', 'overlay.qcow2');
  await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', image.path, '-F', 'qcow2', overlayPath]);
  const { partitions } = image;
  {
    await using session = await createHostGuest({ limits: guestLimits, ids: unprivilegedIds, log }).open(
      {
        overlayPath,
        base: { path: image.path, format: 'qcow2' },
        partitions,
        workDirectory,
        buildId: `build-${builds}`,
      },
      { signal: new AbortController().signal, onNotice: () => {}, binds: [] },
    );
    assert.ok((await guestGroups(workDirectory)).length > 0, 'this machine gives no cgroup to test with');
    await body(session, workDirectory);
  }
  await assertNothingLeft(before, { emptyFolders: [workDirectory] });
}

async function failure(session: GuestSession, text: string): Promise<ImageBuilderError> {
  try {
    await session.run({ name: 'script', text });
  } catch (error) {
    if (error instanceof ImageBuilderError) return error;
    throw error;
  }
  throw new Error('the script was not stopped');
}

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

test('a fork bomb ends its script with the limit named', async () => {
  await inGuest(async (session) => {
    const error = await failure(session, 'bomb() { bomb | bomb & }; bomb; sleep 600');
    assert.equal([error.code, error.fault], ['guest.limit', 'request'], error.message);
    assert.match(error.message, /more processes than the 64 that IMAGEBUILDER_GUEST_PROCESSES allows/);
  });
});

test('a script that takes all the memory ends with the limit named', async () => {
  await inGuest(async (session) => {
    // Doubles a shell variable.
    const error = await failure(session, 'x=0123456789abcdef; while :; do x="$x$x"; done');
    assert.equal([error.code, error.fault], ['guest.limit', 'request'], error.message);
    assert.match(error.message, /more memory than the 96 MiB that IMAGEBUILDER_GUEST_MEMORY allows/);
  });
});

test('files in a tmpfs of the image count as memory', async () => {
  await inGuest(async (session) => {
    const error = await failure(session, 'dd if=/dev/zero of=/tmp/file bs=1M count=512; sleep 600');
    assert.is(error.code, 'guest.limit', error.message);
  });
});

test('writing more to the disk than fits into the memory is no fault', async () => {
  const text = 'dd if=/dev/urandom of=/root/file bs=1M count=20';
  const write = async (session: GuestSession) => {
    await session.run({ name: 'script', text });
    await session.close();
  };
  await inGuest(write, { ...limits, guestMemoryBytes: 12 * 2 ** 20 });
});

test('a script fails when one of its processes is killed for its memory, even if it goes on and ends well', async () => {
  await inGuest(async (session) => {
    const error = await failure(session, 'sh -c \'x=0123456789abcdef; while :; do x="$x$x"; done\' || exit 0');
    assert.is(error.code, 'guest.limit', error.message);
  });
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
  const workDirectory = join(directory, 'without');
  await mkdir(workDirectory);
  const before = await observe(workDirectory);
  const overlayPath = join(directory, 'without.qcow2');
  await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', image.path, '-F', 'qcow2', overlayPath]);
  const base = { path: image.path, format: 'qcow2' };
  const disk = { overlayPath, base, partitions: image.partitions, workDirectory, buildId: 'without' };
  const { stdout, stderr } = await exec('unshare', [
    ...['--mount', 'sh', '-c', 'umount --recursive /sys/fs/cgroup && exec "$@"', 'without', process.execPath],
    ...[join(import.meta.dirname, 'guest-without-cgroup.ts'), JSON.stringify(disk)],
  ]);
  assert.match(stdout, 'the script devours inside the image failed');
  assert.match(stderr, 'what runs inside images is not held to these limits');
  await assertNothingLeft(before, { emptyFolders: [workDirectory] });
});

test.run();
