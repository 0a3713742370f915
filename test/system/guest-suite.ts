import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ExecError, exec } from '#lib/exec.ts';
import { assertHiddenUntouched } from '#lib/guest/closed-mounts.ts';
import { readFindings } from '#lib/guest/findings.ts';
import type { Guest, GuestOptions, GuestSession } from '#lib/guest/guest.ts';
import { beforeChange, sealImage, sealWarnings } from '#lib/guest/seal.ts';
import { bootLoaderSeal } from '#lib/kinds/disk/boot-loader.ts';
import { assertCode, failure, type GuestTests, type OpenedDisk, output } from './guest-disk.ts';
import { makeTestImage, programForArm, rootUuid, type TestImage } from './guest-image.ts';

/** The tests of `lib/guest/guest.ts`, for any guest. As many as can share one opened image. */

export interface GuestUnderTest {
  readonly kind: Guest['kind'];
  readonly tests: GuestTests;
  /** The guest as it gives scripts a network, where that needs a setting. */
  readonly networked?: Guest;
  /** Times after which opening is cancelled, so that they fall into its different parts. */
  readonly cancelAfterMs: readonly number[];
  /** Looks at an opened image for what only this guest promises. */
  readonly lookInside: (session: GuestSession, disk: OpenedDisk) => Promise<void>;
}

const policy = '#!/bin/sh\n# own\nexit 0\n';
const files = {
  '/etc/hostname': '# of the image\n\n web-1.example.org \n',
  '/usr/sbin/policy-rc.d': policy,
  '/etc/machine-id': '',
  '/etc/ssh/ssh_host_rsa_key': 'shipped',
  '/var/log/old.log': 'line one\n',
  '/var/tmp/shipped': 'yes',
  '/var/lib/dpkg/status-old': 'shipped',
};

/** An image that tests in a row share, opened. */
interface SharedImage {
  /** A folder of the worker that the image gets as /var/cache. */
  readonly cache: string;
  readonly disk: Awaited<ReturnType<GuestTests['begin']>>;
  readonly session: GuestSession;
  /** Of the base, before anything opened it. */
  readonly baseBefore: string;
  open(options: Partial<GuestOptions>): Promise<GuestSession>;
}

async function digestOf(path: string): Promise<string> {
  return (await exec('sha256sum', [path])).stdout;
}

function shareImage({ directory, begin }: GuestTests): SharedImage {
  let opened: Pick<SharedImage, 'disk' | 'session' | 'baseBefore'> | undefined;
  const get = () => {
    if (opened === undefined) throw new Error('the image is not open');
    return opened;
  };
  return {
    cache: join(directory, 'cache-of-apt'),
    get disk() {
      return get().disk;
    },
    get session() {
      return get().session;
    },
    get baseBefore() {
      return get().baseBefore;
    },
    async open(options) {
      const base = await makeTestImage(directory, 'shared', { files });
      const baseBefore = await digestOf(base.path);
      // Changes are told by whole seconds.
      await sleep(1100);
      const disk = await begin(base);
      opened = { disk, session: await disk.open(options), baseBefore };
      return opened.session;
    },
  };
}

/** Defines the tests; returns an image for further ones. */
export async function testGuest(guest: GuestUnderTest): Promise<TestImage> {
  const image = await makeTestImage(guest.tests.directory, 'plain');
  const shared = shareImage(guest.tests);
  testOpening(guest, shared);
  testClosedMounts(shared);
  testScripts(guest, shared);
  testOutbox(guest, shared);
  testSurroundings(guest, shared);
  testClosing(guest, shared);
  testProxyAndCancelling(guest, image);
  testUnfitImages(guest, image);
  return image;
}

function testOpening({ kind }: GuestUnderTest, shared: SharedImage): void {
  test('an image is opened with every partition of its fstab', async () => {
    await mkdir(join(shared.cache, 'archives', 'partial'), { recursive: true });
    await writeFile(join(shared.cache, 'pkgcache.bin'), 'of the worker');
    const notices: string[] = [];
    // Minimised images lack apt's own folders.
    const binds = ['/var/cache', '/var/lib/apt/lists'].map((target) => ({ source: shared.cache, target }));
    const session = await shared.open({ binds, onNotice: (message) => notices.push(message) });
    assert.is(session.kind, kind);
    assert.equal(session.mounted.slice(0, 2), ['/', '/boot']);
    // The worker's kernel may not know vfat; that of a vm does.
    const efiOpen = session.mounted.includes('/boot/efi');
    assert.ok(efiOpen || kind === 'host');
    const closed = session.notMounted.map(({ target }) => target);
    assert.equal(closed, efiOpen ? ['/data', '/srv'] : ['/boot/efi', '/data', '/srv']);
    assert.is(notices.filter((notice) => /\/boot\/efi .*vfat/.test(notice)).length, efiOpen ? 0 : 1);
    assert.not.match(notices.join('\n'), '/data', 'nofail means that no user has to hear of it');
    assert.is(await output(session, 'cat /boot/vmlinuz; hostname'), 'a kernelweb-1.example.org');
    const machine = `root=UUID=${rootUuid} ro`;
    assert.is(await output(session, 'cat /proc/cmdline /proc/swaps; cat /proc/mdstat 2>/dev/null || :'), machine);
    assert.is(await output(session, 'ls /sys/firmware /sys/devices/virtual/dmi 2>/dev/null | grep -v : || :'), '');
    assert.is(await output(session, 'stat -c %u / /boot /tmp /run /dev/image1 | sort -u'), '0');
    assert.is(await output(session, 'stat -c "%a %u %n" /var/lib/apt'), '755 0 /var/lib/apt');
    const write = 'echo new >/boot/new; echo more >/etc/more; dd if=/dev/zero of=/big bs=1M count=8 2>&1';
    await session.run({ name: 'change', text: write });
    if (efiOpen) await session.run({ name: 'esp', text: 'echo esp >"/boot/efi/Long Name.txt"' });
    await session.run({ name: 'fill', text: 'dd if=/dev/urandom of=/gone bs=1M count=12 2>&1; sync; rm /gone' });
  });
}

function testClosedMounts(shared: SharedImage): void {
  test('a change below a mount point that stayed closed is found, and no other is', async () => {
    const { session } = shared;
    const run = (text: string) => session.run({ name: 'change', text });
    // Files of the base image, below a mount point that is closed as well.
    const closed = [...session.notMounted, { target: '/var/log', reason: 'a test' }];
    await run('mkdir -p /srv/sub /data; echo new >/data/new; echo new >/boot/other');
    await assertHiddenUntouched(session, closed);
    await run('echo new >"/srv/sub/a file"');
    const written = /written \/srv\/sub\/a file, .* \/srv is a mount point there.* no partition \/dev\/vda7/;
    assertCode(await failure(assertHiddenUntouched(session, closed)), 'image.unsupported', written);
    await run('rm -r /srv/sub /data/new /boot/other');
  });
}

function testScripts({ tests }: GuestUnderTest, shared: SharedImage): void {
  test('a script gets arguments, files, environment and descriptor 3, and nothing of the worker', async () => {
    const { session } = shared;
    const lines: string[] = [];
    const statusLines: string[] = [];
    process.env.WORKER_SECRET = 'leak';
    const { stdout, stderr } = await session.run({
      name: 'all',
      text: 'echo "$2|$1|$OWN|$(cat "$JOB/sub/file")|$(cat)|$(umask)|$(ulimit -c)"; env | grep WORKER; echo oops >&2; echo "pmstatus:x:10" >&3',
      arguments: ["it's", 'two words\nand "$(a line)"'],
      files: { 'sub/file': 'content' },
      env: { OWN: "o'wn" },
      onLine: (line, stream) => lines.push(`${stream} ${line}`),
      onStatusLine: (line) => statusLines.push(line),
    });
    assert.is(stdout, `two words\nand "$(a line)"|it's|o'wn|content||0022|0\n`);
    assert.is(stderr, 'oops\n');
    assert.equal(lines.sort(), ['stderr oops', `stdout and "$(a line)"|it's|o'wn|content||0022|0`, 'stdout two words']);
    assert.equal(statusLines, ['pmstatus:x:10']);
    await session.run({ name: 'without', text: 'echo nobody listens >&3' });
  });

  test('output of any size and bytes comes whole, a line at a time', async () => {
    const { session } = shared;
    const binary = await session.run({ name: 'binary', text: 'head -c 300000 /dev/urandom; printf "a\\0b"' });
    assert.ok(binary.stdout.endsWith('a\0b'));
    let count = 0;
    await session.run({ name: 'many', text: 'seq 200000', onLine: () => (count += 1) });
    assert.is(count, 200_000);
  });

  test('a script finds copies of the regular files of a folder of the worker', async () => {
    const { session } = shared;
    const folder = join(tests.directory, 'folder');
    await mkdir(join(folder, 'below'), { recursive: true });
    await writeFile(join(folder, 'below', 'hidden'), '');
    const longName = `${'n'.repeat(180)}_1%3a2~b+c amd64.deb`;
    await writeFile(join(folder, longName), 'a package', { mode: 0o600 });
    const large = await open(join(folder, 'large'), 'w');
    await large.truncate(200 * 1024 * 1024);
    await large.write('end', 200 * 1024 * 1024 - 3);
    await large.close();
    const look =
      'cd "$JOB/folder"; ls; cat n*; tail -c 3 large; touch mine 2>/dev/null || stat -c :%A:%u * | cut -c 1,3,6,9,12-';
    assert.is(await output(session, look, { folder }), `large\n${longName}\na packageend:rrr:0\n:rrr:0`);
    const write =
      'mount -o remount,bind,rw /run/imagebuilder; for file in "$JOB"/folder/n*; do echo x >"$file"; done; :';
    await session.run({ name: 'write', text: write, folder });
    assert.is(await readFile(join(folder, longName), 'utf8'), 'a package');
    assert.is(await output(session, 'ls "$JOB"'), 'script', 'what an earlier script had is gone');
  });

  test('a script that fails throws its exit code and last lines under its own name', async () => {
    const { session } = shared;
    const error = await failure(session.run({ name: 'install', text: 'echo working; echo broken >&2; exit 7' }));
    assert.instance(error, ExecError);
    assert.is((error as ExecError).exitCode, 7);
    assert.is((error as ExecError).message, 'the script install inside the image failed with exit code 7: broken');
    assert.is(await output(session, 'echo still here'), 'still here');
  });

  test('a daemon that a script leaves running ends with the script, and zombies are reaped', async () => {
    const { session } = shared;
    const text = 'cd /boot; setsid sleep 600 & (sleep 601 & ); trap "" TERM; sleep 602 & :';
    await session.run({ name: 'leave', text });
    assert.is(await output(session, 'ps -o comm,stat | grep -c "sleep 6\\|^sleep.*Z" || :'), '0');
  });
}

function testOutbox({ tests }: GuestUnderTest, shared: SharedImage): void {
  test('the outbox of a script holds the bytes that it wrote until its end, and nothing else', async () => {
    const { session } = shared;
    const collect = async (text: string) => {
      const path = join(tests.directory, 'outbox');
      const stdout = await output(session, text, { outbox: { path, maximumBytes: 4_000_000 } });
      const { mode } = await stat(path);
      const content = await readFile(path);
      await rm(path);
      return { stdout, content, mode: mode & 0o777 };
    };
    const noise = await collect('head -c 4000000 /dev/urandom >/tmp/noise; cat /tmp/noise >&4; sha256sum </tmp/noise');
    assert.is(`${createHash('sha256').update(noise.content).digest('hex')}  -`, noise.stdout);
    assert.is(noise.mode, 0o600);
    assert.is((await collect(':')).content.length, 0);
    const late = `setsid sh -c 'trap "" TERM; sleep 600; echo late >&4' & echo in time >&4`;
    assert.is((await collect(late)).content.toString(), 'in time\n');
    assert.is(await output(session, '(echo >&4) 2>/dev/null || echo none'), 'none', 'a script without outbox');
  });

  test('an outbox is gone after a script that failed, and takes no place that something has', async () => {
    const { session } = shared;
    const path = join(tests.directory, 'outbox');
    const outbox = { path, maximumBytes: 1000 };
    const failing = { name: 'pack', text: 'echo half of it >&4; exit 3', outbox };
    assert.is(((await failure(session.run(failing))) as ExecError).exitCode, 3);
    assert.not(existsSync(path));
    const canary = join(tests.directory, 'canary');
    await writeFile(canary, 'untouched');
    await symlink(canary, path);
    assert.match(String(await failure(session.run({ ...failing, text: 'echo all of it >&4' }))), 'EEXIST');
    assert.is(await readFile(canary, 'utf8'), 'untouched');
    await rm(path);
  });
}

function testSurroundings({ kind, lookInside }: GuestUnderTest, shared: SharedImage): void {
  test('without a proxy there is no network but a loopback interface, on which root may take any port', async () => {
    const { session } = shared;
    assert.not(session.network);
    assert.is(await output(session, 'ls /sys/class/net; env | grep proxy || :'), 'lo');
    // It waits for a connection until it is ended.
    assert.not.match(await output(session, 'timeout 1 nc -l -p 80 2>&1 || :'), 'bind');
  });

  test('settings of the kernel are out of reach, and the clock is right', async () => {
    const { session } = shared;
    assert.is(await output(session, '(: >/proc/sys/vm/drop_caches) 2>/dev/null || echo no'), 'no');
    // Not what the time was when the script was asked for, nor when it was heard of: either may be long ago.
    const before = Math.floor(Date.now() / 1000);
    const time = Number(await output(session, 'date +%s'));
    const skew = Math.max(before - time, time - Date.now() / 1000);
    assert.ok(skew < 30, `the clock is ${skew} seconds off`);
  });

  test(`folders of the worker are there, ${kind === 'host' ? 'with their content' : 'empty'}`, async () => {
    const found = await output(shared.session, 'cd /var/cache; find . | sort; echo new >new');
    const content = kind === 'host' ? '\n./pkgcache.bin' : '';
    assert.is(found, `.\n./archives\n./archives/partial${content}`);
    const left = ['archives', ...(kind === 'host' ? ['new'] : []), 'pkgcache.bin'];
    assert.equal((await readdir(shared.cache)).sort(), left);
  });

  test('services are not started meanwhile', async () => {
    assert.is(await output(shared.session, '/usr/sbin/policy-rc.d ssh start; echo $?'), '101');
  });

  test(`what only the ${kind} guest promises of an opened image holds`, async () => {
    await lookInside(shared.session, shared.disk);
  });
}

function testClosing({ tests }: GuestUnderTest, shared: SharedImage): void {
  test('sealing takes out identity, logs and caches that are new, and keeps what was there', async () => {
    const { session } = shared;
    const grub = 'set timeout=0\nlinux /boot/vmlinuz root=LABEL=cloudimg-rootfs ro\n';
    const putGrub = 'mkdir -p /boot/grub; cat "$JOB/grub" >/boot/grub/grub.cfg';
    await session.run({ name: 'grub', text: putGrub, files: { grub } });
    const pristine = await beforeChange(session, [bootLoaderSeal]);
    const newGrub = `menuentry 'x' {\n\tlinux\t/boot/vmlinuz-2 root=UUID=${rootUuid} ro quiet\n\tlinux /boot/vmlinuz-3 root=/dev/image1\n}\n`;
    await session.run({
      name: 'change',
      text: `echo 0123456789abcdef0123456789abcdef >/etc/machine-id
        echo key >/etc/ssh/ssh_host_ed25519_key
        echo line two >>/var/log/old.log
        echo new >/var/log/new.log
        mkdir -p /var/log/apt /var/lib/systemd "/var/tmp/a b"; echo x >/var/log/apt/term.log; echo x >/var/lib/systemd/random-seed
        echo x >/root/.bash_history; echo x >/var/lib/dpkg/diversions-old
        mkdir -p /usr/share/doc && cd /usr/share/doc
        mkdir pipe zero kernel empty large dangling libfoo-common none folder folder/copyright binary
        ln -s libfoo-common libfoo; ln -s /dev/zero zero/copyright; ln -s /proc/kmsg kernel/copyright; ln -s none dangling/copyright
        mkfifo pipe/copyright; : >empty/copyright; head -c 524289 /dev/zero >large/copyright
        printf one >libfoo-common/copyright; printf 'two\\n\\n\\0\\377' >binary/copyright
        ${putGrub}`,
      files: { grub: newGrub },
    });
    const look = { path: join(tests.directory, 'findings'), folders: session.mounted };
    const warnings = sealWarnings(await sealImage(session, pristine, look));
    const { touched, copyrights } = await readFindings(look.path);
    assert.is(touched, null, 'a find without -printf lists nothing, and fails nothing');
    assert.equal(
      [...copyrights].map(([name, file]) => [name, Buffer.from(file).toString('latin1')]),
      [
        ['binary', 'two\n\n\0\xff'],
        ['libfoo-common', 'one'],
        ['libfoo', 'one'],
      ],
      'no pipes, devices, files that wait for readers, empty, large or missing ones',
    );
    await rm(look.path);
    assert.match(warnings.join('\n'), /imagebuilder-first-boot makes .* without systemd nothing runs it/);
    assert.match(await output(session, 'cat /etc/imagebuilder-first-boot'), '{ ssh-keygen -A; } || failed=yes');
    const text = `cat /etc/machine-id; ls /etc/ssh /var/tmp /var/log/apt /var/lib/systemd /var/lib/dpkg; ls -A /root; cat /var/log/old.log; wc -c </var/log/new.log; sed -n 's/.*\\(root=.*\\)/\\1/p' /boot/grub/grub.cfg`;
    assert.is(
      await output(session, text),
      [
        ...['/etc/ssh:', 'ssh_host_rsa_key', '', '/var/lib/dpkg:', 'status-old', '', '/var/lib/systemd:', ''],
        ...['/var/log/apt:', '', '/var/tmp:', 'shipped', 'line one', '0'],
        ...['root=LABEL=cloudimg-rootfs ro quiet', 'root=LABEL=cloudimg-rootfs'],
      ].join('\n'),
    );
    await session.run({ name: 'bad', text: 'echo "set root=hostdisk//dev/image1" >>/boot/grub/grub.cfg' });
    assertCode(await failure(sealImage(session, pristine)), 'guest.failed', /grub\.cfg names a device/);
  });

  test('all changes are in the overlay after close, no more than these, and the base is as it was', async () => {
    const { disk, session } = shared;
    await session.close();
    const { stdout } = await exec('qemu-img', ['map', '--output=json', '-f', 'qcow2', disk.overlayPath]);
    const extents = JSON.parse(stdout) as { depth: number; data: boolean; length: number }[];
    const changed = extents.filter((extent) => extent.depth === 0 && extent.data);
    const bytes = changed.reduce((sum, extent) => sum + extent.length, 0);
    assert.ok(bytes < 12 * 1024 * 1024, `the space that was freed inside is still taken: ${bytes} bytes`);
    assert.is(await digestOf(disk.base.path), shared.baseBefore);
    const raw = join(tests.directory, 'shared.raw');
    await exec('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', disk.overlayPath, raw]);
    const partition = `${raw}?offset=${disk.partitions[0]?.offsetBytes}`;
    const { stdout: made } = await exec('debugfs', ['-R', 'stat /boot', partition]);
    assert.match(
      made.replaceAll('\n', ' '),
      /Mode: +0755 .*User: +0 +Group: +0 /,
      'a mount point that was missing is root’s',
    );

    await using again = await disk.open();
    const look = `cat /boot/new /etc/more; wc -c </big; ls /tmp /run /var/cache /usr/sbin; cat /usr/sbin/policy-rc.d.imagebuilder`;
    assert.is(
      await output(again, look),
      `new\nmore\n8388608\n/run:\nimagebuilder\nimagebuilder-borrowed\nlock\nshm\n\n/tmp:\n\n/usr/sbin:\npolicy-rc.d\npolicy-rc.d.imagebuilder\n\n/var/cache:\n${policy.trim()}`,
    );
    if (again.mounted.includes('/boot/efi')) assert.is(await output(again, 'cat "/boot/efi/Long Name.txt"'), 'esp');

    const slow = again.run({ name: 'slow', text: 'echo so far; sleep 600', timeoutMs: 3000 });
    const error = await failure(slow);
    assert.instance(error, ExecError, 'a script that runs out of time is ended, and its error has its output');
    assert.is((error as ExecError).message, 'the script slow inside the image ran out of time: so far');
    await again[Symbol.asyncDispose]();
    await disk.end();
  });
}

function testProxyAndCancelling({ kind, tests, ...guest }: GuestUnderTest, image: TestImage): void {
  test('scripts reach the worker’s proxy and nothing else; cancelling ends them within seconds', async () => {
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(`${request.url} ${request.headers['proxy-authorization']}`);
      response.end('from the proxy');
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    await using _closing = { [Symbol.asyncDispose]: async () => void server.close().closeAllConnections() };
    const { port } = server.address() as AddressInfo;
    const proxy = {
      url: `http://user:password@127.0.0.1:${port}`,
      serve: (listener: Server) => void listener.on('connection', (socket) => server.emit('connection', socket)),
    };
    await tests.withDisk(image, async (disk) => {
      const cancel = new AbortController();
      await using session = await disk.open({ proxy, signal: cancel.signal }, guest.networked);
      assert.ok(session.network);
      const fetched = await output(session, 'wget -q -O - http://archive.example/file; echo; echo "$https_proxy"');
      assert.equal(fetched.split('\n'), ['from the proxy', session.proxyUrl]);
      // On the socket in the host guest's network, no build but this one can connect.
      const password = kind === 'vm' ? `Basic ${btoa('user:password')}` : undefined;
      assert.equal(asked, [`http://archive.example/file ${password}`]);
      const direct = `for place in 127.0.0.1:${port} 192.0.2.1:80 10.0.2.2:${port} 10.0.2.3:53; do
          (nc -w 2 "\${place%:*}" "\${place#*:}" </dev/null && echo "$place") &
        done; wait`;
      assert.is(await output(session, direct), '');
      assert.is(asked.length, 1);

      const reason = new Error('no longer wanted');
      const text = 'trap "" TERM; setsid sleep 600 & echo half of it >&4; echo started >&3; sleep 600';
      const outbox = { path: join(tests.directory, 'cancelled'), maximumBytes: 1000 };
      const started = session.run({ name: 'long', text, outbox, onStatusLine: () => cancel.abort(reason) });
      assert.is(await failure(started), reason);
      assert.not(existsSync(outbox.path));
      assert.is(await failure(session.run({ name: 'more', text: 'true' })), reason);
    });
  });

  test('a script that writes more than its outbox takes is ended, and the outbox is gone', async () => {
    await tests.withDisk(image, async (disk) => {
      await using session = await disk.open();
      const outbox = { path: join(tests.directory, 'full'), maximumBytes: 2 ** 20 };
      const error = await failure(session.run({ name: 'pack', text: 'cat /dev/zero >&4; sleep 600', outbox }));
      assertCode(error, 'guest.limit', /more room than the 1\.0 MiB that the result of the script pack may have/);
      assert.not(existsSync(outbox.path));
    });
  });

  test('cancelling while the image is being opened leaves nothing', async () => {
    await tests.withDisk(image, async (disk) => {
      for (const delayMs of guest.cancelAfterMs) {
        const signal = AbortSignal.timeout(delayMs);
        const opened = await disk.open({ signal }).catch((error: unknown) => error);
        if (opened instanceof Error) assert.is(opened, signal.reason);
        else await (opened as GuestSession)[Symbol.asyncDispose]();
      }
    });
  });
}

function testUnfitImages({ tests: { withDisk, withImage } }: GuestUnderTest, image: TestImage): void {
  test('a root file system that cannot be mounted is refused as damaged', async () => {
    await withDisk(image, async (disk) => {
      const place = image.partitions[0]?.offsetBytes ?? 0;
      await exec('qemu-io', ['-f', 'qcow2', '-c', `write -P 0 ${place + 4096} 512k`, disk.overlayPath]);
      assertCode(await failure(disk.open()), 'image.corrupt', /ext4 file system of partition 1 cannot be mounted/);
    });
  });

  test('a root file system that turns out damaged while it is changed fails the build as that', async () => {
    await withDisk(image, async (disk) => {
      // The blocks of /var/log, whose entries then make no sense.
      const place = image.partitions[0]?.offsetBytes ?? 0;
      const raw = join(disk.workDirectory, '..', 'root.raw');
      const cut = `driver=raw,offset=${place},file.driver=qcow2,file.file.driver=file,file.file.filename=${image.path}`;
      await exec('qemu-img', ['convert', '-O', 'raw', '--image-opts', cut, raw]);
      const { stdout } = await exec('debugfs', ['-R', 'blocks /var/log', raw]);
      const { stdout: header } = await exec('dumpe2fs', ['-h', raw]);
      const blockBytes = Number(/^Block size:\s*([0-9]+)$/m.exec(header)?.[1]);
      const block = Number(stdout.trim().split(/\s+/)[0]);
      await exec('qemu-io', ['-f', 'qcow2', '-c', `write -P 0xff ${place + block * blockBytes} 512`, disk.overlayPath]);
      await using session = await disk.open();
      await failure(session.run({ name: 'look', text: 'ls /var/log; touch /var/log/new' }));
      assertCode(await failure(session.close()), 'image.corrupt', /reported errors/);
    });
  });

  for (const [what, options, message] of [
    ['/run is a link', { links: { '/run': '/tmp' } }, /\/run in the image is no folder/],
    ['/etc/fstab is a link to a file of the worker', { links: { '/etc/fstab': '/etc/passwd' } }, /\/etc\/fstab/],
    // Seen before any program of it is started.
    [
      'programs are for another processor',
      { files: { '/usr/bin/dpkg': programForArm } },
      /for another processor than this worker’s.*: its programs are for armhf$/,
    ],
  ] as const) {
    test(`an image is refused, and nothing written, where ${what}`, async () => {
      await withImage(options, async (disk) => {
        assertCode(await failure(disk.open()), 'image.unsupported', message);
      });
    });
  }
}
