import { lstat, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ImageFacts, readImageFacts } from '#lib/apt/facts.ts';
import { addSources } from '#lib/apt/sources.ts';
import { loadConfig } from '#lib/config/load.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import type { GuestSession } from '#lib/guest/guest.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { beforeChange, sealImage } from '#lib/guest/seal.ts';
import { createVmGuest } from '#lib/guest/vm/vm-guest.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { createLog } from '#lib/log.ts';
import { makeBaseImage } from '../../lab/images/base-image.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { failure } from '../failure.ts';
import { type OpenedDisk, openGuestTests } from './guest-disk.ts';
import { unprivilegedIds } from './unprivileged.ts';

/** Attacks of a package's scripts on the worker, in a real system opened by the host guest. */

const base = await makeBaseImage({ cacheDirectory: baseImageCache });
const { partitions } = await inspectImage(base.path, { maximumVirtualBytes: 2 ** 40 });
const guest = createHostGuest({
  limits: loadConfig({}).guest,
  ids: unprivilegedIds,
  log: createLog({ level: 'error' }),
});
const tests = await openGuestTests('hostile', () => guest);
const { directory } = tests;

/** The part of closing that needs dpkg, done before dpkg is broken. */
const giveBack = `borrowed=/run/imagebuilder-borrowed/list
sed -n 's/^diverted //p' $borrowed | while read -r file; do
  rm "$file"
  dpkg-divert --quiet --local --rename --remove "$file" >/dev/null
done
sed -i '/^diverted /d' $borrowed`;

interface PreparedDisk extends OpenedDisk {
  /** Makes the image what a test wants it to be, before it is looked at. */
  prepare(text: string, ...rest: readonly string[]): Promise<void>;
}

/** Runs `body` with a fresh overlay on the base image, and afterwards checks that nothing is left of it. */
async function withDisk(body: (disk: PreparedDisk) => Promise<void>): Promise<void> {
  await tests.withDisk({ path: base.path, partitions }, async (disk) => {
    await body({
      ...disk,
      async prepare(text, ...rest) {
        await using session = await disk.open();
        await session.run({ name: 'prepare', text: `set -e\n${giveBack}\n${text}`, arguments: rest });
        await session.close();
      },
    });
  });
}

/** The output of a script. */
async function output(session: GuestSession, text: string, ...rest: readonly string[]): Promise<string> {
  return (await session.run({ name: 'test', text, arguments: rest })).stdout.trim();
}

async function addTestSource(session: GuestSession, facts: ImageFacts): Promise<void> {
  const key = {
    fingerprint: 'F'.repeat(40),
    armored: 'a key\n'.repeat(2_000),
    binary: Buffer.from('a key'),
    weakness: null,
  };
  const source = { ppa: { owner: 'owner', name: 'name' }, url: 'http://127.0.0.1:1/owner/name/ubuntu', key };
  await addSources(session, facts, [source], 'jammy');
}

/** Everything that a build does inside an image but the installation itself. */
async function wholeFlow(session: GuestSession): Promise<void> {
  const facts = await readImageFacts(session);
  const pristine = await beforeChange(session, []);
  // The forms of every generation of apt: each writes into other folders.
  for (const aptVersion of ['2.6.1', '1.2.35', '1.0.1']) {
    await addTestSource(session, { ...facts, aptVersion });
  }
  await session.run({
    name: 'work',
    text: 'mkdir -p /var/log/apt; echo x >>/var/log/apt/term.log; echo id >/etc/machine-id; :',
  });
  await sealImage(session, pristine);
  await session.close();
}

/** The way out of a chroot that every root of old has had: keep a folder open, chroot below it, and climb. */
const climb = `
use strict; my ($file) = @ARGV;
mkdir "/tmp/deeper"; chroot "/tmp/deeper" or die "chroot: $!";
chdir ".." for 1..64;
chroot "." or die "chroot: $!";
open(my $out, ">>", $file) or exit 1;
print $out "reached\\n";
`;

/** Each of them must come to nothing; a line that it prints is what it got. */
const escapes: Readonly<Record<string, string>> = {
  'climbing out of the chroot': `perl -e "$2" "$1" && echo out`,
  'the root of process 1': 'echo reached >>"/proc/1/root$1" && echo out',
  'the folder of process 1':
    'echo reached >>"/proc/1/cwd$1" && echo out; echo reached >>"/proc/1/cwd/..$1" && echo out',
  'the environment of the worker': 'cat /proc/[0-9]*/environ | grep -a IMAGEBUILDER_',
  'the namespaces of process 1': 'nsenter --target 1 --mount sh -c \'echo reached >>"$1"; echo out\' sh "$1"',
  'another mount namespace': 'unshare --mount echo made',
  'a user namespace': 'unshare --user --map-root-user echo made',
  'a device of the worker': 'mknod /dev/evil b 7 0 && echo made; mknod /evil b 7 0 && echo made',
  'the devices of the worker, mounted': 'mount -t devtmpfs none /mnt && ls /mnt',
  'a file system of its own': 'mount -t tmpfs none /mnt && echo mounted',
  'the image mounted over itself': 'mount --bind /etc /mnt && echo mounted',
  'a read-only folder of the worker, made writable': 'mount -o remount,bind,rw /run/imagebuilder && echo remounted',
  'what lies under a mount': 'umount /tmp && echo unmounted; umount -l / && echo unmounted',
  'a setting of the kernel': 'echo 1 >/proc/sys/vm/drop_caches && echo set; umount /proc/sys && echo unmounted',
  'a key of the kernel': 'echo h >/proc/sysrq-trigger && echo pressed',
  'the kernel as files':
    'for f in $(find /sys -name uevent -path "*net*" 2>/dev/null | head -n 3); do echo add >"$f" && echo told; done',
  'the memory of the machine':
    'head -c 1 /proc/kcore 2>/dev/null | wc -c | grep -v "^0"; ls /dev/mem /dev/kmsg 2>/dev/null',
  'the log of the kernel': 'dmesg 2>/dev/null | head -n 1',
  'the clock': 'date -s "2001-01-01" 2>/dev/null >/dev/null && echo set',
  'the name of the machine': 'hostname evil && echo named',
  'modules of the kernel': 'modprobe dummy 2>/dev/null && echo loaded',
  'the network': 'ip link add evil type dummy 2>/dev/null && echo added',
  'every packet on the network': "perl -MSocket -e 'socket(my $s, 17, SOCK_RAW, 0x0300) and print qq(open\\n)'",
  'tracing process 1': "perl -e 'syscall(101, 16, 1, 0, 0) == 0 and print qq(attached\\n)'",
  // open_by_handle_at(2) knows no root: whoever may call it reads every file of a file system that he has any file of.
  'files by their handles': `perl -e 'my $h = pack("IIQ", 8, 1, 2); open(my $m, "<", "/run/imagebuilder") or die; my $fd = syscall(304, fileno($m), $h, 0); print qq(opened\\n) if $fd >= 0'`,
};

test('a package’s script cannot get out of the image', async () => {
  const canary = join(directory, 'canary');
  await writeFile(canary, 'untouched\n');
  await withDisk(async (disk) => {
    await using session = await disk.open();
    const got: string[] = [];
    for (const [what, text] of Object.entries(escapes)) {
      const said = await output(session, `{ ${text}\n} 2>/dev/null; :`, canary, climb);
      if (said !== '') got.push(`${what}: ${said}`);
    }
    assert.equal(got, []);
  });
  assert.is(await readFile(canary, 'utf8'), 'untouched\n');
});

test('a script that kills all that it can reach, or the whole machine, ends itself at most', async () => {
  await withDisk(async (disk) => {
    await using session = await disk.open();
    for (const text of [
      'kill -9 -1; sleep 60',
      'kill -9 1; sleep 0',
      'reboot -f; poweroff -f; halt -f; init 0; telinit 6',
    ]) {
      await session.run({ name: 'kill', text }).catch(() => {});
      assert.is(await output(session, 'echo lives'), 'lives');
    }
    // Deaf, in a session of its own, in the way of the unmount.
    await session.run({
      name: 'daemon',
      text: 'cd /var/log; for n in 1 2 3; do setsid sh -c "trap \'\' TERM HUP INT; exec 9>>/var/log/open; while :; do sleep 1; done" & done; :',
    });
    await session.close();
  });
});

const canaryFolder = join(directory, 'outside');
/** Where our scripts write, or dpkg and apt on their behalf. */
const writtenFiles = [
  ...['/etc/machine-id', '/var/lib/dbus/machine-id'],
  ...[
    '/usr/sbin/policy-rc.d',
    '/usr/sbin/policy-rc.d.imagebuilder',
    '/var/lib/dpkg/diversions-old',
    '/var/log/apt/term.log',
  ],
  ...[
    '/etc/apt/sources.list.d/owner-ubuntu-name-jammy.sources',
    '/etc/apt/sources.list.d/owner-ubuntu-name-jammy.list',
  ],
  ...[
    '/etc/apt/sources.list.d/owner-ubuntu-name-jammy.sources.imagebuilder',
    '/root/.bash_history',
    '/boot/grub/grub.cfg',
  ],
  ...['/etc/apt/keyrings/owner-ubuntu-name-jammy.gpg', '/etc/apt/trusted.gpg.d/owner-ubuntu-name-jammy.gpg'],
];
const writtenFolders = [
  ...['/etc/apt/sources.list.d', '/etc/apt/keyrings', '/etc/apt/trusted.gpg.d', '/etc/apt/preferences.d', '/etc/ssh'],
  ...['/var/log', '/var/tmp', '/var/cache', '/var/lib/systemd', '/var/crash', '/boot/grub', '/root'],
];

async function assertOutsideUntouched(): Promise<void> {
  assert.equal((await readdir(canaryFolder, { recursive: true })).sort(), ['file', 'folder', 'folder/below']);
  assert.is(await readFile(join(canaryFolder, 'file'), 'utf8'), 'untouched\n');
  assert.is((await lstat(join(canaryFolder, 'file'))).mode & 0o777, 0o600);
}

test('links out of the image at every place that is written lead nowhere but into the image', async () => {
  await mkdir(join(canaryFolder, 'folder'), { recursive: true });
  await writeFile(join(canaryFolder, 'folder/below'), '');
  await writeFile(join(canaryFolder, 'file'), 'untouched\n', { mode: 0o600 });
  const link = 'for path in $2; do rm -rf "$path"; mkdir -p "$(dirname "$path")"; ln -s "$1" "$path"; done';
  for (const up of ['', '/../../../../../..']) {
    await withDisk(async (disk) => {
      await disk.prepare(link, `${up}${canaryFolder}/file`, writtenFiles.join(' '));
      await wholeFlow(await disk.open());
    });
    await withDisk(async (disk) => {
      await disk.prepare(link, `${up}${canaryFolder}/folder`, writtenFolders.join(' '));
      await using session = await disk.open();
      // Some of these an image cannot do without; then that is said.
      await wholeFlow(session).catch((error: unknown) => assert.instance(error, ImageBuilderError));
    });
    await assertOutsideUntouched();
  }
});

test('hard links and folders where files belong change nothing but what they are', async () => {
  await withDisk(async (disk) => {
    await disk.prepare(`ln -f /etc/passwd /usr/sbin/policy-rc.d
      ln -f /etc/passwd /etc/apt/sources.list.d/owner-ubuntu-name-jammy.sources.imagebuilder
      mkdir -p /usr/sbin/policy-rc.d.imagebuilder/full
      mkdir -p /etc/apt/sources.list.d/owner-ubuntu-name-jammy.list.imagebuilder/full
      sha256sum </etc/passwd >/root/sum`);
    await wholeFlow(await disk.open());
    await using session = await disk.open();
    assert.is(await output(session, '[ "$(sha256sum </etc/passwd)" = "$(cat /root/sum)" ] && echo same'), 'same');
  });
});

/** Images that are refused, each with its error: before anything has been done with the image, and without waiting. */
const broken: Readonly<Record<string, readonly [prepare: string, code: string, message: RegExp]>> = {
  'a FIFO for dpkg’s diversions': [
    'rm -f /var/lib/dpkg/diversions; mkfifo /var/lib/dpkg/diversions',
    'image.unsupported',
    /diversions in the image/,
  ],
  'a FIFO among the sources of apt': [
    'mkfifo /etc/apt/sources.list.d/x.list',
    'image.unsupported',
    /x\.list in the image/,
  ],
  'preferences without end': ['ln -s /dev/zero /etc/apt/preferences', 'image.unsupported', /preferences in the image/],
  'a status of dpkg that was cut off': [
    'status=/var/lib/dpkg/status; truncate -s "$(($(grep -bm 1 ^Version: $status | cut -d: -f1) + 3))" $status',
    'image.corrupt',
    /dpkg/,
  ],
  'a status of dpkg that is noise': ['head -c 5000 /dev/urandom >/var/lib/dpkg/status', 'image.corrupt', /dpkg/],
  'no status of dpkg': [
    'rm /var/lib/dpkg/status*',
    'image.unsupported',
    /has no package at all in its \/var\/lib\/dpkg\/status/,
  ],
  'no database of dpkg': ['rm -rf /var/lib/dpkg', 'image.corrupt', /dpkg/],
  'a package that is half installed': [
    "sed -i '/^Package: bash$/,/^Status:/s/^Status: .*/Status: install ok half-installed/' /var/lib/dpkg/status",
    'image.corrupt',
    /unfinished: bash/,
  ],
  'dpkg interrupted': ['echo x >/var/lib/dpkg/updates/0001', 'image.corrupt', /dpkg/],
  'diversions that make no sense': ["printf 'one\\ntwo\\n' >/var/lib/dpkg/diversions", 'image.corrupt', /dpkg-divert/],
};

for (const [what, [prepare, code, message]] of Object.entries(broken)) {
  test(`an image is refused for what it is: ${what}`, async () => {
    await withDisk(async (disk) => {
      await disk.prepare(prepare);
      const tried = async () => {
        await using session = await disk.open();
        await wholeFlow(session);
      };
      const error = await failure(tried());
      assert.is(error.code, code, error.message);
      assert.match(error.message, message);
    });
  });
}

test('in a vm, images are refused for the same, and nothing of them is waited for', async () => {
  const config = loadConfig({});
  const settings = { ...config.guest, ...config.tools, cacheDirectory: join(directory, 'cache') };
  const vm = createVmGuest({ ...settings, log: createLog({ level: 'error' }) });
  await withDisk(async (disk) => {
    await disk.prepare('rm -f /var/lib/dpkg/diversions; mkfifo /var/lib/dpkg/diversions');
    await using session = await disk.open({}, vm);
    const error = await failure(readImageFacts(session));
    assert.is(error.code, 'image.unsupported', error.message);
    assert.match(error.message, /diversions in the image/);
  });
});

test('a full file system is reported as full', async () => {
  await withDisk(async (disk) => {
    await using session = await disk.open();
    const facts = await readImageFacts(session);
    // All blocks, and after them all inodes.
    await session.run({
      name: 'fill',
      text: `fallocate -l "$(df --output=avail -B1 / | tail -n 1)" /full 2>/dev/null
        dd if=/dev/zero of=/fuller bs=4k 2>/dev/null; dd if=/dev/zero of=/fullest bs=1 count=4096 2>/dev/null; :`,
    });
    const error = await failure(addTestSource(session, facts));
    assert.is(error.code, 'image.full', error.message);
  });
});

test('harmless leftovers of dpkg and apt are no fault', async () => {
  await withDisk(async (disk) => {
    await disk.prepare(
      'touch /var/lib/dpkg/lock /var/lib/dpkg/lock-frontend /var/lib/apt/lists/lock; ln -s /dev/null /etc/apt/preferences',
    );
    await wholeFlow(await disk.open());
  });
});

test.after(tests.remove);

test.run();
