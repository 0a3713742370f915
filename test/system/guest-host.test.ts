import { copyFile, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { exec } from '#lib/exec.ts';
import type { GuestDisk } from '#lib/guest/guest.ts';
import { removeCgroup } from '#lib/guest/host/cgroup.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { type HostProbe, probeHost } from '#lib/guest/host/probe.ts';
import { guestDirectory, guestVariable } from '#lib/guest/identity.ts';
import { sweepGuest } from '#lib/guest/sweep.ts';
import { createLog } from '#lib/log.ts';
import { waitForProcess } from '../../lab/fleet/processes.ts';
import { assertNothingLeft, observe } from '../../lab/leaks.ts';
import { assertCode, busy, failure, openGuestTests, output } from './guest-disk.ts';
import { programForArm } from './guest-image.ts';
import { testGuest } from './guest-suite.ts';
import { withKilledWorker } from './guest-worker.ts';
import { unprivilegedIds } from './unprivileged.ts';

const log = createLog({ level: 'error' });
const guest = createHostGuest({ limits: loadConfig({}).guest, ids: unprivilegedIds, log });
const tests = await openGuestTests('guest', () => guest);
const { directory, withDisk, withImage } = tests;

test('this machine is found able to open images, by trying', async () => {
  const before = await observe(directory);
  assert.equal(await probeHost(directory, unprivilegedIds), { hindrances: [], unmapped: null });
  await assertNothingLeft(before);
});

test('a work directory behind a symbolic link does as well', async () => {
  const link = join(directory, 'link');
  await symlink(directory, link);
  assert.equal((await probeHost(link, unprivilegedIds)).hindrances, []);
  await rm(link);
});

/** The result of the probe with a file in place of crun. */
async function probeWith(crun: string): Promise<HostProbe> {
  const program = `import { probeHost } from '${join(import.meta.dirname, '../../lib/guest/host/probe.ts')}';
    console.log(JSON.stringify(await probeHost('${directory}', ${JSON.stringify(unprivilegedIds)})));`;
  const { stdout } = await exec('unshare', [
    ...['--mount', 'sh', '-c', 'mount --bind "$0" "$(command -v crun)" && exec "$@"', crun],
    ...[process.execPath, '--input-type=module', '--eval', program],
  ]);
  return JSON.parse(stdout) as HostProbe;
}

test('without a crun that holds what it runs there is no host guest, and it is said what to do', async () => {
  // In place of crun: one that does nothing and ends well, and one that runs the command without any wall.
  const openDoor = join(directory, 'open-door');
  await writeFile(openDoor, '#!/bin/sh\necho held\nunshare --mount true\nexit 1\n', { mode: 0o755 });
  for (const crun of ['/bin/true', openDoor]) {
    const { hindrances } = await probeWith(crun);
    assert.match(hindrances[0] ?? '', /^crun does not hold what it is to run \(.*apt-get install crun/);
    assert.is(hindrances.length, 1);
  }
});

test('where there can be no user namespace, the guest works without one, and it is said why', async () => {
  const real = join(directory, 'crun');
  const refusing = join(directory, 'refusing-crun');
  await copyFile((await exec('sh', ['-c', 'command -v crun'])).stdout.trim(), real);
  await writeFile(
    refusing,
    `#!/bin/sh\nfor word; do [ "$bundle" = next ] && bundle=$word; [ "$word" != --bundle ] || bundle=next; done
    ! grep -q uidMappings "$bundle/config.json" || { echo 'no user namespaces here' >&2; exit 1; }
    exec ${real} "$@"\n`,
    { mode: 0o755 },
  );
  const refused = await probeWith(refusing);
  assert.equal(refused.hindrances, []);
  assert.match(refused.unmapped ?? '', 'no user namespaces here');
  // An id map that the kernel refuses, as it refuses one for some file systems.
  const refusedIds = { first: 2 ** 32 - 100, last: 2 ** 32 - 100 + 65_535 };
  await withDisk(plainImage, async (disk) => {
    const warnings: string[] = [];
    const log = createLog({ level: 'warn', write: (line) => warnings.push(line) });
    const limits = loadConfig({}).guest;
    await using session = await disk.open({}, createHostGuest({ limits, ids: refusedIds, log }));
    assert.is(await output(session, 'cat /proc/self/uid_map | tr -s " "'), '0 0 4294967295');
    assert.match(warnings.join('\n'), /no user namespace.*uid_map: Invalid argument/);
  });
  const few = { first: unprivilegedIds.first, last: unprivilegedIds.first + 65_534 };
  const { hindrances, unmapped } = await probeHost(directory, few);
  assert.equal(hindrances, []);
  assert.match(unmapped ?? '', /^IMAGEBUILDER_UNPRIVILEGED_IDS has fewer/);
});

const plainImage = await testGuest({
  kind: 'host',
  tests,
  cancelAfterMs: [0, 30, 80, 150, 250],
  async lookInside(session) {
    const text =
      'ls /dev/vda /dev/sda /dev/loop0 2>/dev/null; [ $(echo /proc/[0-9]* | wc -w) -lt 6 ] || echo processes; :';
    assert.is(await output(session, text), '');
    const bounding = BigInt(`0x${await output(session, "sed -n 's/^CapEff:[[:blank:]]*//p' /proc/self/status")}`);
    // linux/capability.h: net_admin, sys_module, sys_rawio, sys_boot, sys_time; and chown as a proof of the reading.
    for (const number of [12n, 16n, 17n, 22n, 25n]) assert.is(bounding & (1n << number), 0n, `capability ${number}`);
    assert.is(bounding & 1n, 1n);
  },
});

test('two builds of one base do not see each other', async () => {
  await withDisk(plainImage, async (one) => {
    await withDisk(plainImage, async (other) => {
      const sessions = await Promise.all([one.open(), other.open()]);
      await Promise.all(sessions.map((session, index) => session.run({ name: 'write', text: `echo ${index} >/mine` })));
      assert.equal(await Promise.all(sessions.map((session) => output(session, 'cat /mine'))), ['0', '1']);
      await Promise.all(sessions.map((session) => session.close()));
    });
  });
});

for (const [what, options, message] of [
  ['a mount point of the fstab lies behind a link', { links: { '/boot': '/tmp' } }, /\/boot in the image/],
  [
    'a folder of the worker would appear behind a link',
    { links: { '/var/cache': '/../../../../etc' } },
    /\/var\/cache in the image/,
  ],
] as const) {
  test(`an image is refused, and nothing written, where ${what}`, async () => {
    await withImage(options, async (disk) => {
      const binds = [{ source: directory, target: '/var/cache' }];
      assertCode(await failure(disk.open({ binds })), 'image.unsupported', message);
    });
  });
}

test('a name that no machine can have, or that is behind a link, is not that of the machine inside', async () => {
  for (const options of [
    { files: { '/etc/hostname': 'two words\n' } },
    { files: { '/etc/hostname': `${'x'.repeat(65)}\n` } },
    { links: { '/etc/hostname': '/../../../../../../../../etc/hostname' } },
  ]) {
    await withImage(options, async (disk) => {
      await using session = await disk.open();
      assert.is(await output(session, 'hostname'), 'localhost');
    });
  }
});

test('lines of an fstab cannot smuggle in folders of the worker', async () => {
  const fstab =
    'LABEL=cloudimg-rootfs / ext4 defaults 0 1\nLABEL=BOOT /boot\\012bind\\011/etc\\011/tmp ext4 defaults 0 2\n';
  await withImage({ files: { '/etc/fstab': fstab } }, async (disk) => {
    await using session = await disk.open();
    // By the type of the partition.
    assert.equal(session.mounted, ['/', '/boot']);
    assert.is(await output(session, 'ls /tmp'), '');
  });
});

test('changes to a partition are kept also where the path to it leads elsewhere by the end', async () => {
  const fstab = 'LABEL=cloudimg-rootfs / ext4 defaults 0 1\nLABEL=BOOT /srv/boot ext4 defaults 0 2\n';
  await withImage({ files: { '/etc/fstab': fstab, '/srv/boot/empty': '' } }, async (disk) => {
    {
      await using session = await disk.open();
      assert.equal(session.mounted, ['/', '/srv/boot']);
      await session.run({
        name: 'move',
        text: 'echo new >/srv/boot/new; mv /srv /moved; ln -s "$1" /srv',
        arguments: [directory],
      });
      await session.close();
    }
    await using again = await disk.open().catch(() => null);
    // The mount point is a link now, for which an image is refused.
    assert.is(again, null);
    const place = disk.partitions[2]?.offsetBytes ?? 0;
    const raw = join(directory, 'moved.raw');
    await exec('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', disk.overlayPath, raw]);
    assert.is((await exec('debugfs', ['-R', 'cat /new', `${raw}?offset=${place}`])).stdout, 'new\n');
  });
});

test('an image without a root partition is refused', async () => {
  await withDisk({ ...plainImage, partitions: plainImage.partitions.slice(1, 2) }, async (disk) => {
    assertCode(await failure(disk.open()), 'image.unsupported', /root/);
  });
});

test('an image none of whose programs starts is refused as one for another processor', async () => {
  await withImage({ files: { '/usr/bin/busybox': programForArm } }, async (disk) => {
    await using session = await disk.open();
    const error = await failure(session.run({ name: 'first', text: ':' }));
    assertCode(error, 'image.unsupported', /for another processor than this worker’s/);
  });
});

/** The processes of the guest on this disk by what they are, found as the kernel knows them. */
async function guestProcesses(disk: GuestDisk): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  const marker = `${guestVariable}=${disk.workDirectory}/guest`;
  for (const id of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(id)) continue;
    const environment = await readFile(`/proc/${id}/environ`, 'utf8').catch(() => '');
    if (!environment.split('\0').includes(marker)) continue;
    const command = await readFile(`/proc/${id}/cmdline`, 'utf8').catch(() => '');
    for (const name of ['supervisor.js', 'qemu-storage-daemon', 'last-will', 'unshare', 'sleep']) {
      if (command.split('\0').some((word) => word.endsWith(name))) found.set(name, Number(id));
    }
  }
  return found;
}

/** Looks again for a while: a process that is just being changed shows no environment. */
async function kill(disk: GuestDisk, ...names: string[]): Promise<void> {
  for (let looks = 1; ; looks += 1) {
    const processes = await guestProcesses(disk);
    const ids = names.flatMap((name) => processes.get(name) ?? []);
    if (ids.length === names.length) {
      for (const id of ids) process.kill(id, 'SIGKILL');
      return;
    }
    if (looks === 50) throw new Error(`not all of ${names.join(', ')} are among ${[...processes.keys()].join(', ')}`);
    await sleep(100);
  }
}

for (const name of ['supervisor.js', 'qemu-storage-daemon', 'unshare', 'sleep'] as const) {
  test(`with ${name} killed, the script in progress fails and nothing hangs or stays`, async () => {
    await withDisk(plainImage, async (disk) => {
      await using session = await disk.open();
      const error = await failure(session.run(busy(() => void kill(disk, name))));
      assertCode(error, 'guest.failed', /the image cannot be kept open/);
      assertCode(await failure(session.close()), 'guest.failed', /the image cannot be kept open/);
    });
  });
}

/** Kills the storage daemon, and lets nobody hear of that from the supervisor before a while has gone by. */
async function killUnheard(disk: GuestDisk): Promise<void> {
  const supervisor = (await guestProcesses(disk)).get('supervisor.js') ?? 0;
  process.kill(supervisor, 'SIGSTOP');
  try {
    await kill(disk, 'qemu-storage-daemon');
  } finally {
    setTimeout(() => process.kill(supervisor, 'SIGCONT'), 1_000);
  }
}

test('work that fails because the disk is gone says so, also where it fails before the supervisor has spoken', async () => {
  const writing = { name: 'writing', text: 'echo >&3; dd if=/dev/zero of=/var/log/file bs=1M count=4 conv=fsync' };
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    await killUnheard(disk);
    assertCode(await failure(session.run(writing)), 'guest.failed', /the image cannot be kept open/);
  });
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    // The data is in the page cache, so that the flush meets the loss.
    await session.run({ name: 'unflushed', text: 'head -c 8000000 /dev/urandom >/var/log/file' });
    await killUnheard(disk);
    assertCode(await failure(session.close()), 'guest.failed', /the image cannot be kept open/);
  });
});

test('a disk that goes away while it is mounted is lost, not damaged', async () => {
  await withDisk(plainImage, async (disk) => {
    // A base of which every read takes a minute.
    const slow = JSON.stringify({ driver: 'null-co', size: 2 ** 30, 'read-zeroes': true, 'latency-ns': 60e9 });
    const base = join(disk.workDirectory, '..', 'slow.qcow2');
    for (const [path, backing, format] of [
      [base, `json:${slow}`, 'null-co'],
      [disk.overlayPath, base, 'qcow2'],
    ] as const) {
      await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', backing, '-F', format, path]);
    }
    const options = { signal: new AbortController().signal, onNotice: () => {}, binds: [] };
    const opening = failure(guest.open({ ...disk, base: { path: base, format: 'qcow2' } }, options));
    await waitForProcess(disk.workDirectory, /^mount -t ext4/);
    await killUnheard(disk);
    assertCode(await opening, 'guest.failed', /the image cannot be kept open/);
  });
});

test('a storage daemon that hangs does not keep the guest from ending', async () => {
  await withDisk(plainImage, async (disk) => {
    const session = await disk.open();
    const daemon = (await guestProcesses(disk)).get('qemu-storage-daemon') ?? 0;
    const script = busy(() => {
      process.kill(daemon, 'SIGSTOP');
      void session[Symbol.asyncDispose]();
    });
    await failure(session.run(script));
    await session[Symbol.asyncDispose]();
  });
});

test('a worker killed in the middle of a script leaves nothing but its folder', async () => {
  await withDisk(plainImage, async (disk) => {
    const before = await observe(disk.workDirectory);
    await withKilledWorker(disk);
    await assertNothingLeft(before);
    await rm(join(disk.workDirectory, 'guest'), { recursive: true });
  });
});

test('a worker killed while its supervisor is still loaded leaves nothing but its folder', async () => {
  await withDisk(plainImage, async (disk) => {
    const before = await observe(disk.workDirectory);
    let supervisor: number | undefined;
    await withKilledWorker(disk, {
      async until() {
        while (supervisor === undefined) {
          supervisor = (await guestProcesses(disk)).get('supervisor.js');
          await sleep(1);
        }
        process.kill(supervisor, 'SIGSTOP');
        // The worker asks it to begin, which it has not read yet.
        await sleep(1000);
      },
    });
    process.kill(supervisor ?? 0, 'SIGCONT');
    await assertNothingLeft(before);
    await rm(join(disk.workDirectory, 'guest'), { recursive: true });
  });
});

test('images are opened and scripts run where the root file system is read-only, as a systemd unit can have it', async () => {
  const program = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"';
  const readOnly = ['unshare', '--mount', 'sh', '-c', program, directory];
  await withDisk(plainImage, async (disk) => {
    const before = await observe(disk.workDirectory);
    await withKilledWorker(disk, { launcher: readOnly });
    await assertNothingLeft(before);
    await rm(join(disk.workDirectory, 'guest'), { recursive: true });
  });
});

test('a worker killed together with its supervisor leaves nothing but its folder and an empty cgroup', async () => {
  await withDisk(plainImage, async (disk) => {
    const before = await observe(disk.workDirectory);
    await withKilledWorker(disk, { beforeEnd: () => kill(disk, 'supervisor.js') });
    // Empty, and no more than a name.
    await removeCgroup(guestDirectory(disk.workDirectory));
    await assertNothingLeft(before);
    await rm(join(disk.workDirectory, 'guest'), { recursive: true });
  });
});

test('the sweep of the next worker ends all leftovers when every process that would clean up was killed', async () => {
  await withDisk(plainImage, async (disk) => {
    const before = await observe(disk.workDirectory);
    await withKilledWorker(disk, { beforeEnd: () => kill(disk, 'last-will', 'supervisor.js') });
    assert.ok((await guestProcesses(disk)).has('qemu-storage-daemon'));
    await sweepGuest(disk.workDirectory, { log });
    await assertNothingLeft(before);
    await rm(join(disk.workDirectory, 'guest'), { recursive: true });
  });
});

test.after(tests.remove);

test.run();
