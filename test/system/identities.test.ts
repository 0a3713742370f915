import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { ChangesDocument } from '#lib/manifest/changes.ts';
import { variants } from '../runner/long.ts';
import { changeImage, runInImage } from './base-session.ts';
import { type BuiltImage, type GuestBuilds, openGuestBuilds } from './guest-builds.ts';

/** An image holds nothing of the machine that built it, and nothing that its machines must not share. */

const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-identities-'));
const cleanup = new AsyncDisposableStack();
cleanup.defer(() => rm(directory, { recursive: true, force: true }));
let builds: GuestBuilds;
const built = new Map<'host' | 'vm', BuiltImage>();

/** An image without cloud-init, a server of SSH, and its own name server in a file that cannot be changed. */
async function prepareBase(path: string): Promise<string> {
  const text = `set -e
dpkg --purge cloud-init openssh-server systemd-resolved
rm -f /etc/ssh/ssh_host_* /etc/resolv.conf
echo 'nameserver 192.0.2.53' >/etc/resolv.conf
echo shop.example.org >/etc/hostname
mkdir -p /etc/nvme
echo nqn.of-the-base >/etc/nvme/hostnqn
printf '%s\\n' '-----BEGIN PRIVATE KEY-----' >/etc/key-of-the-base
`;
  const changed = await changeImage(path, directory, text);
  const raw = join(directory, 'base.raw');
  await exec('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', changed, raw]);
  const { partitions } = await inspectImage(raw, {
    maximumVirtualBytes: 2 ** 34,
    signal: new AbortController().signal,
  });
  const root = partitions.find(({ number }) => number === 1)?.offsetBytes;
  // EXT4_IMMUTABLE_FL beside EXT4_EXTENTS_FL (linux/fs/ext4/ext4.h).
  const input = 'set_inode_field /etc/resolv.conf flags 0x80010\n';
  await exec('debugfs', ['-w', '-f', '-', `${raw}?offset=${root}`], { input });
  return raw;
}

const ownSecret = {
  name: 'own-secret',
  scripts: {
    postinst: `hostname >/etc/name-seen
cp /proc/cmdline /etc/cmdline-seen
echo '-----BEGIN RSA PRIVATE KEY-----' >/etc/own-secret.pem
head -c 128 /dev/urandom >/etc/own.key
touch /etc/key-of-the-base
# Files that differ from the base, though their names or times hide it.
cd /srv
echo >>/etc/issue && touch -d 2001-02-03 /etc/issue
printf 12345 >"$(printf 'two\\nlines')"
printf 123 >"$(printf 'latin-\\344')"
printf 1 >"$(printf 'ümlaut \\342\\200\\256\\033[1m')"
mkdir folder && mkfifo -m 600 folder/pipe && ln -s /nowhere folder/link && chmod 4711 "$(printf 'latin-\\344')"`,
  },
  files: { '/etc/shipped.pem': '-----BEGIN PRIVATE KEY-----\n' },
};
const small = ['own-secret', 'nvme-cli', 'systemd-resolved'];
const servers = ['openssh-server', 'dropbear', 'tinysshd', 'open-iscsi', 'ssl-cert', 'popularity-contest'];
// Keys take long where the processor is emulated, and both guests run the same scripts.
const wanted = { host: [...small, ...servers], vm: small } as const;

for (const guest of variants('host', 'vm')) {
  test(`${guest} guest: servers and initiators are installed`, async () => {
    builds ??= cleanup.use(await openGuestBuilds('plain', [ownSecret], prepareBase));
    built.set(guest, await builds.build(guest, wanted[guest]));
  });

  test(`${guest} guest: a secret that nothing makes anew is a warning, and no other file is`, () => {
    const warnings = built.get(guest)?.image.warnings?.filter((warning) => warning.includes('made during')) ?? [];
    assert.equal(
      warnings.map((warning) => warning.split(' ')[0]),
      ['/etc/own-secret.pem', '/etc/own.key'],
    );
  });

  test(`${guest} guest: the files that differ from the base outside dpkg’s knowledge are listed, whatever their names`, async () => {
    const { location } = built.get(guest)?.artifacts.find(({ role }) => role === 'changes') ?? {};
    const text = await readFile(fileURLToPath(location ?? ''), 'utf8');
    const { files } = ChangesDocument.parse(JSON.parse(text));
    assert.is(files?.complete, true);
    assert.equal(
      files?.touched.filter(({ path }) => path.startsWith('/srv/')),
      [
        { path: '/srv/folder/link', type: 'link' },
        { path: '/srv/folder/pipe', type: 'pipe', mode: '0600' },
        { path: '/srv/latin-\ufffd', path_base64: 'L3Nydi9sYXRpbi3k', type: 'file', mode: '4711', size: 3 },
        { path: '/srv/two\nlines', type: 'file', mode: '0644', size: 5 },
        { path: '/srv/ümlaut \u202e\u001b[1m', type: 'file', mode: '0644', size: 1 },
      ],
    );
    assert.match(text, '/srv/ümlaut \\u202e\\u001b[1m');
    const paths = new Set(files?.touched.map(({ path }) => path));
    // Of a package that dpkg has not unpacked: a script has changed it.
    assert.ok(paths.has('/etc/issue') && paths.has('/etc/own-secret.pem') && paths.has('/etc/name-seen'));
    // Of one that it has, and of the build alone.
    assert.not.ok(paths.has('/etc/shipped.pem') || paths.has('/usr/sbin/policy-rc.d') || paths.has('/etc/machine-id'));
    assert.equal(
      [...paths].filter((path) =>
        /^\/(proc|sys|dev|run|tmp|var\/lib\/(dpkg|apt)|var\/cache\/apt)\/|imagebuilder$/.test(path),
      ),
      [],
    );
  });

  test(`${guest} guest: scripts see the image’s own machine, and its name server stays where it cannot be changed`, async () => {
    const path = built.get(guest)?.path ?? '';
    const text = 'cat /etc/nvme/host* /etc/name-seen /etc/resolv.conf; cut -c 1-10 /etc/cmdline-seen';
    const found = (await runInImage(path, directory, text)).trim().split('\n');
    assert.equal(found, ['nqn.of-the-base', 'shop.example.org', 'nameserver 192.0.2.53', 'root=UUID=']);
  });

  test(`${guest} guest: no file knows the worker`, async () => {
    const path = built.get(guest)?.path ?? '';
    const resolver = /^nameserver (\S+)/m.exec(await readFile('/etc/resolv.conf', 'utf8'))?.[1] ?? '';
    const needles = [builds.directory, 'http://127.0.0.1:3128', resolver, hostname()].filter(
      (needle) => needle.length > 6,
    );
    const search = needles.map((needle) => `-e '${needle}'`).join(' ');
    const text = `grep -rlF ${search} --exclude-dir=proc --exclude-dir=sys --exclude-dir=run --exclude-dir=dev --exclude-dir=doc / || :`;
    assert.is(await runInImage(path, directory, text), '');
  });
}

test('identities are not in the image, and the unit of its first boot makes them', async () => {
  const path = built.get('host')?.path ?? '';
  const list = `ls -d /etc/ssh/ssh_host_*_key /etc/dropbear/*_key /etc/tinyssh/sshkeydir /etc/nvme/host* /etc/ssl/private/* 2>/dev/null || :
    cut -d = -f 1 /etc/iscsi/initiatorname.iscsi | grep -v '^#'; grep MY_HOSTID /etc/popularity-contest.conf`;
  const text = `
    ${list}; cat /etc/nvme/hostnqn /etc/name-seen /etc/resolv.conf; cut -c 1-10 /etc/cmdline-seen; echo ==
    systemd-analyze verify imagebuilder-first-boot.service 2>&1; ls /etc/systemd/system/basic.target.wants; echo ==
    sh /etc/imagebuilder-first-boot >/dev/null 2>&1 && ${list}; mkdir -p /run/sshd; /usr/sbin/sshd -t && echo sshd starts
    find /etc -name 'imagebuilder*'`;
  const [before = '', unit = '', after = ''] = (await runInImage(path, directory, text)).trim().split('\n==\n');
  const kept = ['nqn.of-the-base', 'shop.example.org', 'nameserver 192.0.2.53', 'root=UUID='];
  assert.equal(before.split('\n'), ['/etc/nvme/hostnqn', 'GenerateName', 'MY_HOSTID=""', ...kept]);
  assert.is(unit, 'imagebuilder-first-boot.service');
  const made = after.split('\n').map((line) => line.replace(/"[0-9a-f]{32}"/, 'ID'));
  assert.equal(made, [
    ...['ecdsa', 'ed25519', 'rsa'].map((type) => `/etc/dropbear/dropbear_${type}_host_key`),
    ...['/etc/nvme/hostid', '/etc/nvme/hostnqn'],
    ...['ecdsa', 'ed25519', 'rsa'].map((type) => `/etc/ssh/ssh_host_${type}_key`),
    ...['/etc/ssl/private/ssl-cert-snakeoil.key', 'GenerateName', 'MY_HOSTID=ID', 'sshd starts'],
  ]);
});

test.after(async () => {
  await cleanup.disposeAsync();
});

test.run();
