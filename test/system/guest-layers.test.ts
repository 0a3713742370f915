import { chmod, copyFile, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { exec } from '#lib/exec.ts';
import { readFindings } from '#lib/guest/findings.ts';
import type { GuestSession } from '#lib/guest/guest.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { readOwnFiles } from '#lib/guest/own-files.ts';
import { beforeChange, type Pristine, sealImage, sealWarnings } from '#lib/guest/seal.ts';
import { shownChanges } from '#lib/guest/stack.ts';
import { assertCode, type Begun, failure, type GuestTests, openGuestTests, output } from './guest-disk.ts';
import { cancelAndKill, exceedChanges } from './guest-endings.ts';
import { log, openVmTests } from './guest-vm-disk.ts';
import { type ChangedDisk, layeredDisk, makeLayeredImage } from './layered-image.ts';
import { unprivilegedIds } from './unprivileged.ts';

const limits = loadConfig({}).guest;
const vm = await openVmTests('layers-vm', { asRoot: true });
const hostGuest = createHostGuest({ limits, ids: unprivilegedIds, log });
const guests: Readonly<Record<'host' | 'vm', GuestTests>> = {
  host: await openGuestTests('layers-host', () => hostGuest),
  vm,
};
const image = await makeLayeredImage(vm.directory);
// QEMU and the storage daemon run as users of their own.
await chmod(image.path, 0o644);
const MiB = 2 ** 20;

type BegunDisk = Begun<ChangedDisk> & { end(): Promise<void> };

const begin = async (guest: 'host' | 'vm', base = image, maximumBytes = 64 * MiB): Promise<BegunDisk> =>
  await guests[guest].beginDisk((place) => layeredDisk(base, place, maximumBytes));

/** The traces of a package: every sort of file, and changes of those below. */
const change = `
printf secret >/etc/new-secret
cd /opt/things
printf changed >>kept
rm removed
rm -r whole
mkdir whole
printf new >whole/two
chmod 0750 capable
chown 7:8 link-1
ln link-1 link-3
ln -s ../things/link-1 symbolic
mkfifo -m 620 pipe-2
cp /bin/busybox /usr/bin/privileged
chmod 4755 /usr/bin/privileged
dd if=/dev/zero of=sparse bs=1 count=1 seek=1000000 2>/dev/null
mv added moved
printf 'new folder' >/srv-file
mkdir -m 2770 /var/lib/spool
chown 100:101 /var/lib/spool
rm folder/new
printf again >folder/old
`;

/** Changes of those above, and of what they hide. */
const changeAgain = `
cd /opt/things
rm moved symbolic folder/old
mkdir removed
printf again >removed/one
printf again >>whole/two
rm -r /var/lib/spool
chmod 0700 capable
printf again >>/etc/new-secret
`;

/** The entries of a tar without their times, and its content. */
async function listChanges({ changes: { path } }: ChangedDisk): Promise<string> {
  const all = ['--xattrs', '--xattrs-include=*', '--numeric-owner'];
  const { stdout } = await exec('tar', [...all, '--list', '-vv', '--file', path]);
  const lines = stdout.replaceAll(/ \d{4}-\d\d-\d\d \d\d:\d\d /g, ' ');
  const { stdout: sum } = await exec('sh', ['-c', 'tar --extract --to-stdout --file "$1" | sha256sum', 'sum', path]);
  return `${lines}\n${sum}`;
}

/** Stands in for find, and notes how many files there are in the folders that it is to search. */
const countingFind = `
mkdir -p /usr/local/bin
cat >/usr/local/bin/find <<'END'
#!/bin/sh
for word; do
  case $word in [-\\(!]*) break ;; esac
  /usr/bin/find "$word" -xdev
done | wc -l >>/tmp/searched
exec /usr/bin/find "$@"
END
chmod 755 /usr/local/bin/find
`;

/** The files that `sealImage` lists as touched, and the digests of those that are settings and state. */
async function listTouched(session: GuestSession, pristine: Pristine, folders: readonly string[]) {
  const path = join(vm.directory, 'findings');
  const sealed = await sealImage(session, pristine, { path, folders });
  assert.equal(sealWarnings(sealed), [
    '/etc/new-secret was made during the build: all machines started from this image have the same one',
  ]);
  const { touched } = await readFindings(path);
  await rm(path);
  const files = touched?.files.map((file) => ({ ...file, path: Buffer.from(file.path).toString() }));
  return { isComplete: touched?.isComplete, files, ownFiles: readOwnFiles(sealed) };
}

const listings = new Map<'host' | 'vm', string>();

for (const kind of ['host', 'vm'] as const) {
  test(`${kind}: layers inside one file are one file tree, whose changes come out as a layer`, async () => {
    const before = await exec('sha256sum', [image.path]);
    const disk = await begin(kind);
    await using session = await disk.open();
    assert.equal([session.mounted, session.notMounted], [['/'], []]);
    const view = 'cd /opt/things; cat kept folder/* added; ls; stat -c "%u:%g" / .; hostname';
    const files = ['added', 'capable', 'folder', 'kept', 'link-1', 'link-2', 'pipe', 'removed', 'whole'];
    assert.equal((await output(session, view)).split('\n'), [
      'belowaboveaboveadded',
      ...files.slice(1),
      '0:0',
      '0:0',
      'live',
    ]);
    assert.is(
      await output(session, 'cat /usr/sbin/policy-rc.d; ls /dev | grep -c image || :'),
      '#!/bin/sh\nexit 101\n0',
    );
    const pristine = await beforeChange(session, []);
    await session.run({ name: 'change', text: change });
    const everywhere = await listTouched(session, pristine, session.mounted);
    await session.run({ name: 'count', text: countingFind });
    const found = await listTouched(session, pristine, [shownChanges]);
    const searched = (await output(session, 'cat /tmp/searched; rm -r /tmp/searched /usr/local/bin')).split('\n');
    assert.ok(Math.max(...searched.map(Number)) < 200, `${searched} files of 2000 and more were searched`);
    const own = found.files?.filter(({ path }) => path !== '/usr/local/bin/find');
    const { '/usr/local/bin/find': ours, ...ownFiles } = found.ownFiles ?? {};
    assert.ok(ours !== undefined && ownFiles['/etc/new-secret'] !== undefined);
    assert.equal({ ...found, files: own, ownFiles }, everywhere);
    await session.run({ name: 'many', text: 'mkdir /etc/many; for n in $(seq 2000); do : >/etc/many/$n; done' });
    assert.is((await listTouched(session, pristine, [shownChanges])).ownFiles, null, 'too many to compare');
    await session.run({ name: 'few', text: 'rm -r /etc/many' });
    const paths = new Set(own?.map(({ path }) => path));
    const changed = ['kept', 'whole/two', 'capable', 'link-1', 'link-3', 'symbolic', 'pipe-2', 'moved', 'folder/old'];
    assert.equal(
      changed.filter((path) => !paths.has(`/opt/things/${path}`)),
      [],
    );
    assert.not.ok(paths.has('/opt/things/removed') || paths.has('/opt/things/link-2'));
    await session.close();
    assert.equal(await exec('sha256sum', [image.path]), before);
    listings.set(kind, await listChanges(disk));
    await disk.end();
  });
}

test('both guests hand out the same layer, with all that a layer can have', () => {
  const [host = '', inVm = ''] = [listings.get('host'), listings.get('vm')];
  assert.is(host, inVm);
  const entry = (pattern: RegExp) => assert.match(host, pattern);
  entry(/^c\S+ +0\/0 +0,0 \.\/opt\/things\/removed$/m);
  entry(/^d\S+ +0\/0 +0 \.\/opt\/things\/whole\/\n +x: +1 trusted\.overlay\.opaque$/m);
  entry(/^-rwxr-x---\S* +0\/0 +\d+ \.\/opt\/things\/capable\n +x: +20 security\.capability$/m);
  entry(/^-rwsr-xr-x +0\/0 +\d+ \.\/usr\/bin\/privileged$/m);
  entry(/^drwxrws--- +100\/101 +0 \.\/var\/lib\/spool\/$/m);
  entry(/^h\S+ +7\/8 +0 \.\/opt\/things\/link-3 link to \.\/opt\/things\/link-1$/m);
  entry(/ \.\/opt\/things\/kept\n +x: +5 user\.colour$/m);
  assert.not.match(host, /trusted\.overlay\.(?!opaque)/);
  assert.not.match(host, 'policy-rc.d');
});

for (const kind of ['host', 'vm'] as const) {
  test(`${kind}: changes that go on in a copy of a closed overlay come out with those before`, async () => {
    const changed = async (disk: BegunDisk, ...texts: readonly string[]) => {
      await using session = await disk.open();
      for (const text of texts) await session.run({ name: 'change', text });
      await session.close();
    };
    const [whole, first, second] = [await begin(kind), await begin(kind), await begin(kind)];
    await changed(whole, change, changeAgain);
    await changed(first, change);
    await copyFile(first.overlayPath, second.overlayPath);
    await changed(second, changeAgain);
    assert.is(await listChanges(second), await listChanges(whole));
    for (const disk of [whole, first, second]) await disk.end();
  });

  test(`${kind}: more changes than are allowed end the build`, async () => {
    await exceedChanges(await begin(kind, image, MiB));
  });

  test(`${kind}: a damaged layer is the fault of the image`, async () => {
    const path = join(vm.directory, `damaged-${kind}.img`);
    await copyFile(image.path, path);
    await using file = await open(path, 'r+');
    await file.write(Buffer.alloc(4096), 0, 4096, image.layers[0]?.offsetBytes);
    const disk = await begin(kind, { ...image, path });
    assertCode(await failure(disk.open()), 'image.corrupt', /squashfs file system of partition 1/);
    await disk.end();
  });

  test(`${kind}: nothing is left of a cancelled build, nor of a killed worker`, async () => {
    await cancelAndKill(() => begin(kind), kind === 'vm' ? vm.settings : null);
  });
}

test.after(async () => {
  for (const { remove } of Object.values(guests)) await remove();
});

test.run();
