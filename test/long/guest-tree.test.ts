import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { exec } from '#lib/exec.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { prepareForeignVm } from '#lib/guest/vm/foreign.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeTouchBase } from '../../lab/images/touch-base.ts';
import { assertCode, type Begun, failure, type GuestTests, openGuestTests, output } from '../system/guest-disk.ts';
import { cancelAndKill, exceedChanges } from '../system/guest-endings.ts';
import { programForArm } from '../system/guest-image.ts';
import { log, openVmTests } from '../system/guest-vm-disk.ts';
import { makeTreeImage, type TreeDisk, treeDisk } from '../system/tree-image.ts';
import { unprivilegedIds } from '../system/unprivileged.ts';

/** Root file systems of tar archives in both guests, of this machine's architecture and of another one. */

const limits = loadConfig({}).guest;
const vm = await openVmTests('tree-vm', { asRoot: true });
const hostGuest = createHostGuest({ limits, ids: unprivilegedIds, log });
const guests: Readonly<Record<'host' | 'vm', GuestTests>> = {
  host: await openGuestTests('tree-host', () => hostGuest),
  vm,
};
const MiB = 2 ** 20;

async function imageOf(architecture: 'armhf' | 'amd64') {
  const base = await makeTouchBase(baseImageCache, architecture, () => {});
  const path = join(vm.directory, `${architecture}.ext4`);
  const image = await makeTreeImage(base.path, path, architecture);
  // QEMU and the storage daemon run as users of their own.
  await exec('chmod', ['644', path]);
  return image;
}
const images = { armhf: await imageOf('armhf'), amd64: await imageOf('amd64') };
type Architecture = keyof typeof images;

type BegunDisk = Begun<TreeDisk> & { end(): Promise<void> };
const begin = async (guest: 'host' | 'vm', architecture: Architecture, maximumBytes = 64 * MiB): Promise<BegunDisk> =>
  await guests[guest].beginDisk((place) => treeDisk(images[architecture], place, maximumBytes));

/** The traces of a package: every sort of file, and changes of those that there are. */
const change = `
cd /opt/things
printf changed >>kept
rm removed
chmod 0750 capable
chown 7:8 link-1
ln link-1 link-3
ln -s ../things/link-1 symbolic-2
mkfifo -m 620 pipe-2
cp /usr/bin/env /usr/bin/privileged
chmod 4755 /usr/bin/privileged
mv folder moved
printf 'new file' >"with space/new
line"
mkdir -m 2770 /var/lib/spool
chown 100:101 /var/lib/spool
touch -d @0 'with space/"quoted" $x'
printf x >/tmp/not-of-the-image
printf x >/run/not-of-the-image
`;

/** The entries of a tar without times of folders, its content, and the names that are gone. */
async function listChanges({ changes: { path, gonePath } }: TreeDisk): Promise<string> {
  const all = ['--xattrs', '--xattrs-include=*', '--acls', '--numeric-owner'];
  const { stdout } = await exec('tar', [...all, '--list', '-vv', '--file', path]);
  const lines = stdout.replaceAll(/ \d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)? /g, ' ');
  const { stdout: sum } = await exec('sh', ['-c', 'tar --extract --to-stdout --file "$1" | sha256sum', 'sum', path]);
  const gone = (await readFile(gonePath, 'latin1')).split('\0').map((name) => `gone: ${name}`);
  return [lines, sum, ...gone].join('\n');
}

const listings = new Map<string, string>();

const pairs = [
  ['host', 'amd64'],
  ['vm', 'amd64'],
  ['host', 'armhf'],
  ['vm', 'armhf'],
] as const;

for (const [kind, architecture] of pairs) {
  test(`${kind}, ${architecture}: the changes of a root file system come out`, async () => {
    const disk = await begin(kind, architecture);
    const session = await disk.open();
    assert.equal([session.mounted, session.notMounted], [['/'], []]);
    assert.is(await output(session, 'dpkg --print-architecture'), architecture);
    assert.match(await output(session, 'uname -m'), architecture === 'armhf' ? /^armv[78]l$/ : /^x86_64$/);
    assert.is(await output(session, 'cat /usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101');
    assert.is(
      await output(session, 'stat -c %u:%g:%a /opt/things/kept /opt/things/privileged'),
      '12345:54321:644\n0:0:4755',
    );
    await session.run({ name: 'change', text: change });
    await session.close();
    listings.set(`${kind} ${architecture}`, await listChanges(disk));
    await disk.end();
  });
}

test('every guest hands out the same changes', () => {
  const of = (kind: string, architecture: string) => {
    const listing = listings.get(`${kind} ${architecture}`) ?? '';
    // Another program has another size, and the same name.
    return architecture === 'amd64' ? listing : listing.replaceAll(/^(-\S+ +\S+) +\d+ /gm, '$1 ');
  };
  assert.is(of('vm', 'amd64'), of('host', 'amd64'));
  const paths = (listing: string) => listing.match(/(?<= )\.\/.*|^gone: .*/gm);
  assert.equal(paths(of('vm', 'armhf')), paths(of('host', 'amd64')));
  const entry = (pattern: RegExp) => assert.match(of('host', 'amd64'), pattern);
  entry(/^-rwxr-x---\S* +0\/0 +\d+ \.\/opt\/things\/capable\n +x: +20 security\.capability$/m);
  entry(/^-rwsr-xr-x +0\/0 +\d+ \.\/usr\/bin\/privileged$/m);
  entry(/^drwxrws--- +100\/101 +0 \.\/var\/lib\/spool\/$/m);
  entry(
    /^-\S+ +7\/8 +8 \.\/opt\/things\/link-1\nh\S+ +7\/8 +0 \.\/opt\/things\/link-2 link to \.\/opt\/things\/link-1$/m,
  );
  entry(/^h\S+ +7\/8 +0 \.\/opt\/things\/link-3 link to \.\/opt\/things\/link-1$/m);
  entry(/ \.\/opt\/things\/kept\n +x: +5 user\.colour$/m);
  entry(
    /^gone: opt\/things\/folder\ngone: opt\/things\/folder\/old\ngone: opt\/things\/removed|removed\ngone: opt\/things\/folder/m,
  );
  assert.not.match(of('host', 'amd64'), /policy-rc\.d|not-of-the-image|symbolic\n|\.imagebuilder/);
});

for (const [kind, architecture] of pairs.slice(0, 1)) {
  test(`${kind}, ${architecture}: more changes than are allowed end the build`, async () => {
    await exceedChanges(await begin(kind, architecture, MiB));
  });
}

for (const kind of ['host', 'vm'] as const) {
  test(`${kind}, armhf: nothing is left of a cancelled build, nor of a killed worker`, async () => {
    await cancelAndKill(() => begin(kind, 'armhf'), kind === 'vm' ? vm.settings : null);
  });
}

test('a kernel of another architecture that cannot be fetched is missing, or stays the old one', async () => {
  const signal = new AbortController().signal;
  const { directory, settings } = vm;
  // No server listens there.
  const proxy = { url: 'http://user:secret@127.0.0.1:9' };
  const notices: string[] = [];
  const prepare = async (cacheDirectory: string) => {
    const options = { workDirectory: directory, onNotice: (text: string) => notices.push(text), proxy, signal };
    return await prepareForeignVm('arm64', { ...settings, cacheDirectory }, options);
  };
  await mkdir(join(directory, 'empty'));
  const error = await failure(prepare(join(directory, 'empty')));
  assertCode(error, 'guest.unavailable', /kernel and a busybox for arm64, which apt cannot fetch: .*127\.0\.0\.1/);
  assert.not.match(String(error), 'secret');
  const folder = join(settings.cacheDirectory, 'vm');
  const [made = ''] = (await readdir(folder)).filter((name) => /^root-arm64-[0-9]+$/.test(name));
  await rename(join(folder, made), join(folder, 'root-arm64-1000000000000'));
  assert.match((await prepare(settings.cacheDirectory)).kernel.imagePath, 'root-arm64-1000000000000/boot/');
  assert.match(notices.join(), /^the kernel of the vm for arm64 is an old one: /);
});

test('the emulator of a host guest is in its user namespace alone, and scripts do not see the process that holds that', async () => {
  const program = join(guests.host.directory, 'program');
  await writeFile(program, programForArm, { encoding: 'latin1', mode: 0o755 });
  const disk = await begin('host', 'armhf');
  const session = await disk.open();
  const seen = await output(session, 'cat /proc/[0-9]*/comm | sort -u | tr "\\n" " "');
  const refused = String(await failure(exec(program, [])));
  await session.close();
  await disk.end();
  assert.match(seen, /^((cat|sh|sort|tr|qemu-arm-static) ?)+$/);
  // By a shell, after the kernel has refused it.
  assert.match(refused, /Syntax error|Exec format error/);
});

test.after(async () => {
  for (const { remove } of Object.values(guests)) await remove();
});

test.run();
