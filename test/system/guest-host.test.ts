import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { ExecError, exec } from '#lib/exec.ts';
import type { GuestDisk, GuestOptions, GuestProxy, GuestScript, GuestSession } from '#lib/guest/guest.ts';
import { removeCgroup } from '#lib/guest/host/cgroup.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { type HostProbe, probeHost } from '#lib/guest/host/probe.ts';
import { guestDirectory, guestVariable } from '#lib/guest/identity.ts';
import { beforeChange, sealImage } from '#lib/guest/seal.ts';
import { sweepGuest } from '#lib/guest/sweep.ts';
import { createLog } from '#lib/log.ts';
import { waitForProcess } from '../../lab/fleet/processes.ts';
import { assertNothingLeft, observe } from '../../lab/leaks.ts';
import { makeTestImage, programForArm, type TestImage, type TestImageOptions } from './guest-image.ts';
import { unprivilegedIds } from './unprivileged.ts';

const log = createLog({ level: 'error' });
const guest = createHostGuest({ limits: loadConfig({}).guest, ids: unprivilegedIds, log });
const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-guest-'));
const plainImage = await makeTestImage(directory, 'plain');
let builds = 0;

interface OpenedDisk extends GuestDisk {
  /** Opens the disk; what is not given is as simple as can be. */
  open(options?: Partial<GuestOptions>): Promise<GuestSession>;
}

/** Runs `body` with a fresh overlay on `image`, and afterwards checks that nothing is left of it. */
async function withDisk(image: TestImage, body: (disk: OpenedDisk) => Promise<void>): Promise<void> {
  builds += 1;
  const buildDirectory = join(directory, `build-${builds}`);
  const workDirectory = join(buildDirectory, 'work');
  await mkdir(workDirectory, { recursive: true });
  const before = await observe(buildDirectory);
  const overlayPath = join(buildDirectory, 'overlay.qcow2');
  await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', image.path, '-F', 'qcow2', overlayPath]);
  const base = { path: image.path, format: 'qcow2' } as const;
  const disk: GuestDisk = {
    overlayPath,
    base,
    partitions: image.partitions,
    workDirectory,
    buildId: `build-${builds}`,
  };
  await body({
    ...disk,
    open: async (options = {}) =>
      await guest.open(disk, {
        signal: new AbortController().signal,
        onNotice: () => {},
        binds: [],
        ...options,
      }),
  });
  await assertNothingLeft(before, { emptyFolders: [workDirectory] });
  await exec('qemu-img', ['check', '-q', overlayPath]);
}

async function withImage(options: TestImageOptions, body: (disk: OpenedDisk) => Promise<void>): Promise<void> {
  builds += 1;
  await withDisk(await makeTestImage(directory, `image-${builds}`, options), body);
}

interface TestServer extends AsyncDisposable {
  readonly http: Server;
  readonly url: string;
  readonly port: number;
}

/** An http server on the loopback interface of this machine. */
async function startServer(answer: RequestListener): Promise<TestServer> {
  const http = createServer(answer);
  await once(http.listen(0, '127.0.0.1'), 'listening');
  const { port } = http.address() as AddressInfo;
  return {
    ...{ http, port, url: `http://127.0.0.1:${port}` },
    [Symbol.asyncDispose]: async () => {
      http.closeAllConnections();
      http.close();
    },
  };
}

/** The output of a script. */
async function output(session: GuestSession, text: string, rest: Partial<GuestScript> = {}): Promise<string> {
  return (await session.run({ name: 'test', text, ...rest })).stdout.trim();
}

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => assert.unreachable('it should have failed'),
    (error: unknown) => error,
  );
}

function assertCode(error: unknown, code: ImageBuilderError['code'], message: RegExp): void {
  assert.instance(error, ImageBuilderError);
  assert.is((error as ImageBuilderError).code, code, (error as Error).message);
  assert.match((error as Error).message, message);
}

test('this machine is found able to open images, by trying', async () => {
  const before = await observe(directory);
  assert.equal(await probeHost(directory, unprivilegedIds), { hindrances: [], unmapped: null });
  await assertNothingLeft(before);
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
    const options = { signal: new AbortController().signal, onNotice: () => {}, binds: [] };
    await using session = await createHostGuest({ limits: loadConfig({}).guest, ids: refusedIds, log }).open(
      disk,
      options,
    );
    assert.is(await output(session, 'cat /proc/self/uid_map | tr -s " "'), '0 0 4294967295');
    assert.match(warnings.join('\n'), /no user namespace.*uid_map: Invalid argument/);
  });
  const few = { first: unprivilegedIds.first, last: unprivilegedIds.first + 65_534 };
  const { hindrances, unmapped } = await probeHost(directory, few);
  assert.equal(hindrances, []);
  assert.match(unmapped ?? '', /^IMAGEBUILDER_UNPRIVILEGED_IDS has fewer/);
});

test('changes to every partition of the fstab are in the overlay after close, and the base is as it was', async () => {
  const { stdout: baseBefore } = await exec('sha256sum', [plainImage.path]);
  await withDisk(plainImage, async (disk) => {
    const notices: string[] = [];
    {
      await using session = await disk.open({ onNotice: (message) => notices.push(message) });
      assert.equal(session.mounted.slice(0, 2), ['/', '/boot']);
      const efiOpen = session.mounted.includes('/boot/efi');
      assert.is(session.notMounted.includes('/boot/efi'), !efiOpen);
      assert.is(
        notices.some((notice) => /\/boot\/efi .*vfat/.test(notice)),
        !efiOpen,
        notices.join('\n'),
      );
      assert.ok(session.notMounted.includes('/data'));
      assert.not.ok(
        notices.some((notice) => notice.includes('/data')),
        'nofail means that nobody need be told',
      );
      assert.is(await output(session, 'cat /boot/vmlinuz'), 'a kernel');
      assert.is(
        await output(
          session,
          'stat -c %u / /boot /tmp /run /dev/image1 | sort -u; tr -s " " </proc/self/uid_map | cut -d " " -f 4',
        ),
        '0\n65536',
      );
      await session.run({
        name: 'change',
        text: 'echo new >/boot/new; echo more >/etc/more; dd if=/dev/zero of=/big bs=1M count=8',
      });
      await session.close();
    }
    await using again = await disk.open();
    assert.is(await output(again, 'cat /boot/new /etc/more; wc -c </big'), 'new\nmore\n8388608');
    assert.is(
      await output(again, 'ls /tmp /run/imagebuilder; cat /etc/hosts 2>/dev/null || :; hostname').then((text) =>
        text.split('\n').at(-1),
      ),
      'localhost',
    );
  });
  assert.is((await exec('sha256sum', [plainImage.path])).stdout, baseBefore);
});

test('space that was freed inside is given back by the overlay', async () => {
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    await session.run({ name: 'fill', text: 'dd if=/dev/urandom of=/big bs=1M count=16; sync; rm /big' });
    await session.close();
    const { stdout } = await exec('qemu-img', ['map', '--output=json', '-f', 'qcow2', disk.overlayPath]);
    const extents = JSON.parse(stdout) as { depth: number; data: boolean; length: number }[];
    const changed = extents.filter((extent) => extent.depth === 0 && extent.data);
    const bytes = changed.reduce((sum, extent) => sum + extent.length, 0);
    assert.ok(bytes < 8 * 1024 * 1024, `${bytes} bytes of data are in the overlay`);
  });
});

test('a script gets arguments, files, environment and descriptor 3, and nothing of the worker', async () => {
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    const lines: string[] = [];
    const statusLines: string[] = [];
    process.env.WORKER_SECRET = 'leak';
    const { stdout, stderr } = await session.run({
      name: 'all',
      text: 'echo "$2|$1|$OWN|$(cat "$JOB/sub/file")|$(cat)|$(umask)|$(ulimit -c)"; env | grep WORKER; echo oops >&2; echo "pmstatus:x:10" >&3',
      arguments: ["it's", 'two words'],
      files: { 'sub/file': 'content' },
      env: { OWN: 'own' },
      onLine: (line, stream) => lines.push(`${stream} ${line}`),
      onStatusLine: (line) => statusLines.push(line),
    });
    assert.is(stdout, "two words|it's|own|content||0022|0\n");
    assert.is(stderr, 'oops\n');
    assert.equal(lines.sort(), ['stderr oops', "stdout two words|it's|own|content||0022|0"]);
    assert.equal(statusLines, ['pmstatus:x:10']);
    await session.run({ name: 'without', text: 'echo nobody listens >&3' });
  });
});

test('a script finds copies of the regular files of a folder of the worker', async () => {
  await withDisk(plainImage, async (disk) => {
    const folder = join(directory, 'folder');
    await mkdir(join(folder, 'below'), { recursive: true });
    await writeFile(join(folder, 'package 1.deb'), 'a package', { mode: 0o600 });
    await using session = await disk.open();
    const look = 'cd "$JOB/folder"; cat *; stat -c ":%a:%n" *; touch mine 2>/dev/null || echo read-only';
    assert.is(await output(session, look, { folder }), 'a package:644:package 1.deb\nread-only');
    assert.is(await output(session, 'ls "$JOB"'), 'script');
    await session.run({
      name: 'write',
      text: 'mount -o remount,bind,rw /run/imagebuilder; echo x >"$JOB/folder/package 1.deb"; :',
      folder,
    });
    assert.is(await readFile(join(folder, 'package 1.deb'), 'utf8'), 'a package');
  });
});

test('a script that fails throws its exit code and last lines under its own name', async () => {
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    const error = await failure(session.run({ name: 'install', text: 'echo working; echo broken >&2; exit 7' }));
    assert.instance(error, ExecError);
    assert.is((error as ExecError).exitCode, 7);
    assert.is((error as ExecError).message, 'the script install inside the image failed with exit code 7: broken');
    assert.is(await output(session, 'echo still here'), 'still here');
  });
});

test('the settings, devices, clock, modules and network of the worker are out of reach', async () => {
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    const text =
      'echo 1 2>/dev/null >/proc/sys/vm/drop_caches && echo settings; ls /dev/vda /dev/sda /dev/loop0 2>/dev/null; [ $(echo /proc/[0-9]* | wc -w) -lt 6 ] || echo processes; :';
    assert.is(await output(session, text), '');
    const bounding = BigInt(`0x${await output(session, "sed -n 's/^CapEff:[[:blank:]]*//p' /proc/self/status")}`);
    // linux/capability.h: net_admin, sys_module, sys_rawio, sys_boot, sys_time; and chown as a proof of the reading.
    for (const number of [12n, 16n, 17n, 22n, 25n]) assert.is(bounding & (1n << number), 0n, `capability ${number}`);
    assert.is(bounding & 1n, 1n);
  });
});

test('a daemon that a script leaves running ends with the script, and zombies are reaped', async () => {
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    await session.run({
      name: 'leave',
      text: 'cd /boot; setsid sleep 600 & (sleep 601 & ); trap "" TERM; sleep 602 & :',
    });
    assert.is(await output(session, 'ps -o comm,stat | grep -c "sleep 6\\|^sleep.*Z" || :'), '0');
    await session.close();
  });
});

test('cancelling ends the script with all that it started, within seconds', async () => {
  await withDisk(plainImage, async (disk) => {
    const cancel = new AbortController();
    await using session = await disk.open({ signal: cancel.signal });
    const reason = new Error('no longer wanted');
    const text = 'trap "" TERM; setsid sleep 600 & echo started >&3; sleep 600';
    const started = session.run({ name: 'long', text, onStatusLine: () => cancel.abort(reason) });
    assert.is(await failure(started), reason);
    assert.is(await failure(session.run({ name: 'more', text: 'true' })), reason);
  });
});

test('cancelling while the image is being opened leaves nothing', async () => {
  await withDisk(plainImage, async (disk) => {
    for (const delayMs of [0, 30, 80, 150, 250]) {
      const signal = AbortSignal.timeout(delayMs);
      const opened = await disk.open({ signal }).catch((error: unknown) => error);
      if (opened instanceof Error) assert.is(opened, signal.reason);
      else await (opened as GuestSession)[Symbol.asyncDispose]();
    }
  });
});

test('root inside may listen on every port of the guest’s own network', async () => {
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    // It waits for a connection until it is ended.
    assert.not.match(await output(session, 'timeout 1 nc -l -p 80 2>&1 || :'), 'bind');
  });
});

test('a script that runs out of time is ended', async () => {
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    const error = await failure(session.run({ name: 'slow', text: 'sleep 600', timeoutMs: 300 }));
    assert.instance(error, ExecError);
    assert.match((error as ExecError).message, /the script slow inside the image ran out of time/);
  });
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

test('folders of the worker appear inside, and what is written there is not in the image', async () => {
  const cache = join(directory, 'cache');
  await mkdir(cache);
  await writeFile(join(cache, 'list'), 'warm');
  await withDisk(plainImage, async (disk) => {
    {
      await using session = await disk.open({ binds: [{ source: cache, target: '/var/cache' }] });
      assert.is(await output(session, 'cat /var/cache/list; echo new >/var/cache/new'), 'warm');
      await session.close();
    }
    await using again = await disk.open();
    assert.is(await output(again, 'ls /var/cache'), '');
  });
  assert.is(await readFile(join(cache, 'new'), 'utf8'), 'new\n');
});

for (const [what, options, message] of [
  ['/run is a link', { links: { '/run': '/tmp' } }, /\/run in the image is no folder/],
  ['a mount point of the fstab lies behind a link', { links: { '/boot': '/tmp' } }, /\/boot in the image/],
  ['/etc/fstab is a link to a file of the worker', { links: { '/etc/fstab': '/etc/passwd' } }, /\/etc\/fstab/],
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

test('lines of an fstab cannot smuggle in folders of the worker', async () => {
  const fstab =
    'LABEL=cloudimg-rootfs / ext4 defaults 0 1\nLABEL=BOOT /boot\\012bind\\011/etc\\011/tmp ext4 defaults 0 2\n';
  await withImage({ files: { '/etc/fstab': fstab } }, async (disk) => {
    await using session = await disk.open();
    assert.equal(session.mounted, ['/']);
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

test('a damaged root file system is refused as that', async () => {
  await withDisk(plainImage, async (disk) => {
    const place = plainImage.partitions[0]?.offsetBytes ?? 0;
    await exec('qemu-io', ['-f', 'qcow2', '-c', `write -P 0 ${place + 4096} 512k`, disk.overlayPath]);
    assertCode(await failure(disk.open()), 'image.corrupt', /ext4 file system of partition 1 cannot be mounted/);
  });
});

test('an image without a root partition is refused', async () => {
  await withDisk({ ...plainImage, partitions: plainImage.partitions.slice(1, 2) }, async (disk) => {
    assertCode(await failure(disk.open()), 'image.unsupported', /root/);
  });
});

test('an image for another processor is refused as that', async () => {
  for (const [path, message] of [
    // Seen before any program is started, or else when one cannot be.
    ['/usr/bin/dpkg', /for another processor than this worker’s.*: its programs are for armhf$/],
    ['/usr/bin/busybox', /for another processor than this worker’s/],
  ] as const) {
    await withImage({ files: { [path]: programForArm } }, async (disk) => {
      assertCode(await failure(disk.open()), 'image.unsupported', message);
    });
  }
});

test('services are not started meanwhile, and a policy of the image comes back', async () => {
  const policy = '#!/bin/sh\n# own\nexit 0\n';
  await withImage({ files: { '/usr/sbin/policy-rc.d': policy } }, async (disk) => {
    {
      await using session = await disk.open();
      assert.is(await output(session, '/usr/sbin/policy-rc.d ssh start; echo $?'), '101');
      await session.close();
    }
    await using again = await disk.open();
    assert.is(
      await output(again, 'cat /usr/sbin/policy-rc.d.imagebuilder; ls /usr/sbin'),
      `${policy}policy-rc.d\npolicy-rc.d.imagebuilder`,
    );
  });
});

test('scripts reach the proxy that they are given, at the address that their environment names, and nothing else', async () => {
  await using server = await startServer((request, response) => response.end(`asked for ${request.url}`));
  const proxy: GuestProxy = {
    url: server.url,
    serve: (listener) => void listener.on('connection', (socket) => server.http.emit('connection', socket)),
  };
  const direct = `nc -w 2 127.0.0.1 ${server.port} </dev/null && echo open; nc -w 2 192.0.2.1 80 </dev/null && echo open; ls /sys/class/net`;
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open({ proxy });
    assert.ok(session.network);
    const fetched = await output(session, 'wget -q -O - http://archive.example/file; echo; echo "$https_proxy"');
    assert.equal(fetched.split('\n'), ['asked for http://archive.example/file', session.proxyUrl]);
    assert.is(await output(session, direct), 'lo');
    await session.close();
  });
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    assert.not(session.network);
    assert.is(
      await output(session, `nc -w 2 127.0.0.1 3128 </dev/null && echo open; ${direct}; env | grep proxy || :`),
      'lo',
    );
  });
});

test('sealing takes out identity, logs and caches that are new, and keeps what was there', async () => {
  const grub = 'set timeout=0\nlinux /boot/vmlinuz root=LABEL=cloudimg-rootfs ro\n';
  const files = {
    '/etc/machine-id': '',
    '/etc/ssh/ssh_host_rsa_key': 'shipped',
    '/var/log/old.log': 'line one\n',
    '/var/tmp/shipped': 'yes',
    '/boot/keep': '',
    '/var/lib/dpkg/status-old': 'shipped',
  };
  await withImage({ files }, async (disk) => {
    await using session = await disk.open();
    await session.run({
      name: 'grub',
      text: 'mkdir -p /boot/grub; cat "$JOB/grub" >/boot/grub/grub.cfg',
      files: { grub },
    });
    const pristine = await beforeChange(session);
    const newGrub = `menuentry 'x' {\n\tlinux\t/boot/vmlinuz-2 root=UUID=${rootUuid} ro quiet\n\tlinux /boot/vmlinuz-3 root=/dev/image1\n}\n`;
    await session.run({
      name: 'change',
      text: `echo 0123456789abcdef0123456789abcdef >/etc/machine-id
        echo key >/etc/ssh/ssh_host_ed25519_key
        echo line two >>/var/log/old.log
        echo new >/var/log/new.log
        mkdir -p /var/log/apt /var/lib/systemd "/var/tmp/a b"; echo x >/var/log/apt/term.log; echo x >/var/lib/systemd/random-seed
        echo x >/root/.bash_history; echo x >/var/lib/dpkg/diversions-old
        cat "$JOB/grub" >/boot/grub/grub.cfg`,
      files: { grub: newGrub },
    });
    await sealImage(session, pristine);
    const look = `cat /etc/machine-id; ls /etc/ssh /var/tmp /var/log/apt /var/lib/systemd /var/lib/dpkg; ls -A /root; cat /var/log/old.log; wc -c </var/log/new.log; sed -n 's/.*\\(root=.*\\)/\\1/p' /boot/grub/grub.cfg`;
    assert.is(
      await output(session, look),
      [
        ...['/etc/ssh:', 'ssh_host_rsa_key', '', '/var/lib/dpkg:', 'status-old', '', '/var/lib/systemd:', ''],
        ...['/var/log/apt:', '', '/var/tmp:', 'shipped', 'line one', '0'],
        ...['root=LABEL=cloudimg-rootfs ro quiet', 'root=LABEL=cloudimg-rootfs'],
      ].join('\n'),
    );
    await session.run({ name: 'bad', text: 'echo "set root=hostdisk//dev/image1" >>/boot/grub/grub.cfg' });
    assertCode(await failure(sealImage(session, pristine)), 'guest.failed', /grub\.cfg names a device/);
  });
});

const rootUuid = '5a1b2c3d-0001-4000-8000-00000000c10d';

/** The processes of the guest on this disk by what they are, found as the kernel knows them. */
async function guestProcesses(disk: GuestDisk): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  const marker = `${guestVariable}=${disk.workDirectory}/guest`;
  for (const id of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(id)) continue;
    const environment = await readFile(`/proc/${id}/environ`, 'utf8').catch(() => '');
    if (!environment.split('\0').includes(marker)) continue;
    const command = await readFile(`/proc/${id}/cmdline`, 'utf8').catch(() => '');
    for (const name of ['supervisor.ts', 'qemu-storage-daemon', 'last-will', 'unshare', 'sleep']) {
      if (command.split('\0').some((word) => word.endsWith(name))) found.set(name, Number(id));
    }
  }
  return found;
}

async function kill(disk: GuestDisk, ...names: string[]): Promise<void> {
  const processes = await guestProcesses(disk);
  for (const name of names) {
    const id = processes.get(name);
    if (id === undefined) throw new Error(`there is no ${name} among ${[...processes.keys()].join(', ')}`);
    process.kill(id, 'SIGKILL');
  }
}

/** A script that never stops writing; `onBusy` is called once, when it has begun. */
const busy = (onBusy: () => void): GuestScript => ({
  name: 'busy',
  text: 'echo busy >&3; while :; do dd if=/dev/urandom of=/var/log/busy bs=64k count=64 conv=fsync 2>/dev/null; done',
  onStatusLine: onBusy,
});

for (const name of ['supervisor.ts', 'qemu-storage-daemon', 'unshare', 'sleep'] as const) {
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
  const supervisor = (await guestProcesses(disk)).get('supervisor.ts') ?? 0;
  process.kill(supervisor, 'SIGSTOP');
  await kill(disk, 'qemu-storage-daemon');
  setTimeout(() => process.kill(supervisor, 'SIGCONT'), 1_000);
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

async function withKilledWorker(
  disk: GuestDisk,
  alsoKilled: readonly string[],
  launcher: readonly string[] = [],
): Promise<void> {
  const program = join(import.meta.dirname, 'guest-worker.ts');
  const [file = '', ...args] = [...launcher, process.execPath, program, JSON.stringify(disk)];
  const worker = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [said] = await once(worker.stdout, 'data');
  assert.is(String(said), 'busy\n');
  await kill(disk, ...alsoKilled);
  worker.kill('SIGKILL');
  await once(worker, 'exit');
}

test('a worker killed in the middle of a script leaves nothing but its folder', async () => {
  await withDisk(plainImage, async (disk) => {
    const before = await observe(disk.workDirectory);
    await withKilledWorker(disk, []);
    await assertNothingLeft(before);
    await rm(join(disk.workDirectory, 'guest'), { recursive: true });
  });
});

test('images are opened and scripts run where the root file system is read-only, as a systemd unit can have it', async () => {
  const program = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"';
  const readOnly = ['unshare', '--mount', 'sh', '-c', program, directory];
  await withDisk(plainImage, async (disk) => {
    const before = await observe(disk.workDirectory);
    await withKilledWorker(disk, [], readOnly);
    await assertNothingLeft(before);
    await rm(join(disk.workDirectory, 'guest'), { recursive: true });
  });
});

test('a worker killed together with its supervisor leaves nothing but its folder and an empty cgroup', async () => {
  await withDisk(plainImage, async (disk) => {
    const before = await observe(disk.workDirectory);
    await withKilledWorker(disk, ['supervisor.ts']);
    // Empty, and no more than a name.
    await removeCgroup(guestDirectory(disk.workDirectory));
    await assertNothingLeft(before);
    await rm(join(disk.workDirectory, 'guest'), { recursive: true });
  });
});

test('the sweep of the next worker ends all leftovers when every process that would clean up was killed', async () => {
  await withDisk(plainImage, async (disk) => {
    const before = await observe(disk.workDirectory);
    await withKilledWorker(disk, ['last-will', 'supervisor.ts']);
    assert.ok((await guestProcesses(disk)).has('qemu-storage-daemon'));
    await sweepGuest(disk.workDirectory, { log });
    await assertNothingLeft(before);
    await rm(join(disk.workDirectory, 'guest'), { recursive: true });
  });
});

test.after(async () => {
  await rm(directory, { recursive: true, force: true });
});

test.run();
