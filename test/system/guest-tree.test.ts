import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { exec } from '#lib/exec.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeTouchBase } from '../../lab/images/touch-base.ts';
import { assertCode, type Begun, busy, failure, type GuestTests, openGuestTests, output } from './guest-disk.ts';
import { log, openVmTests } from './guest-vm-disk.ts';
import { withKilledWorker } from './guest-worker.ts';
import { makeTreeImage, type TreeDisk, treeDisk } from './tree-image.ts';
import { unprivilegedIds } from './unprivileged.ts';

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
    const disk = await begin(kind, architecture, MiB);
    const session = await disk.open();
    await session.run({ name: 'change', text: 'dd if=/dev/urandom of=/big bs=1M count=2 2>&1' });
    assertCode(await failure(session.close()), 'guest.limit', /script changes/);
    await session[Symbol.asyncDispose]();
    assert.is(await stat(disk.changes.path).catch(() => null), null);
    await disk.end();
  });
}

test('vm, armhf: nothing is left of a cancelled build, nor of a killed worker', async () => {
  const cancelled = await begin('vm', 'armhf');
  const stop = new AbortController();
  const session = await cancelled.open({ signal: stop.signal });
  const reason = new Error('cancelled');
  assert.is(await failure(session.run(busy(() => stop.abort(reason)))), reason);
  await session[Symbol.asyncDispose]();
  await cancelled.end();
  const killed = await begin('vm', 'armhf');
  await withKilledWorker(killed, { vm: vm.settings });
  await exec('rm', ['-r', join(killed.workDirectory, 'guest')]);
  await killed.end();
});

test.after(async () => {
  for (const { remove } of Object.values(guests)) await remove();
});

test.run();
