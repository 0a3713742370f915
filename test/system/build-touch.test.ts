import { cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { hashFile } from '#lib/image/digest.ts';
import { readOpenPgpKey } from '#lib/openpgp/signing-key.ts';
import type { RootArchive, RootEntry } from '#lib/tar/root-archive.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeTouchBase } from '../../lab/images/touch-base.ts';
import type { PackageRecipe } from '../../lab/servers/launchpad.ts';
import { openKeyring } from '../openpgp/keyring.ts';
import { craftTar } from '../tar/craft.ts';
import { readFileAsRoot } from '../tar/read.ts';
import { type BuiltImage, type GuestBuilds, openGuestBuilds } from './guest-builds.ts';

/** Whole builds of archives of a root file system, of this machine's architecture and of another, by both guests. */

const sample: PackageRecipe = {
  name: 'touch-sample',
  fields: {},
  files: { '/usr/bin/touch-sample': '#!/bin/sh\necho sample\n', '/etc/touch-sample.conf': 'colour = none\n' },
  conffiles: ['/etc/touch-sample.conf'],
  links: { '/usr/share/touch-sample/link': '../../bin/touch-sample' },
  scripts: {
    postinst: `
chown 123:456 /etc/touch-sample.conf
chmod 4755 /usr/bin/touch-sample
ln -f /usr/bin/touch-sample /usr/bin/touch-sample-again
rm -f /opt/things/removed
initctl start touch-daemon
initctl emit touch-event
start touch-daemon
/sbin/restart touch-daemon
reload touch-daemon
service touch-daemon start
invoke-rc.d touch-daemon start
printf more >> /opt/things/link-2
`,
  },
};

const called = (name: string) => `#!/bin/sh\necho "${name} $*" >>/opt/called\n`;

/** Programs and jobs of a system with upstart. Each program that starts something leaves a trace. */
const upstart: Readonly<Record<string, string>> = {
  'sbin/initctl': called('initctl'),
  'etc/init/touch-daemon.conf': 'start on startup\nexec /usr/bin/touch-daemon\n',
  'etc/init.d/touch-daemon':
    '#!/bin/sh\n### BEGIN INIT INFO\n# Provides: touch-daemon\n### END INIT INFO\nstart-stop-daemon --start --exec /usr/bin/touch-daemon\n',
  'usr/bin/touch-daemon': called('daemon'),
};

/** Adds these to an archive, with the links and the shell scripts that go with them. */
async function addUpstart(archivePath: string, directory: string): Promise<void> {
  const root = join(directory, 'upstart');
  for (const [name, text] of Object.entries(upstart)) {
    await mkdir(join(root, dirname(name)), { recursive: true });
    await writeFile(join(root, name), text, { mode: 0o755 });
  }
  await mkdir(join(root, 'usr/sbin'));
  for (const name of ['start', 'stop', 'restart', 'reload', 'status'])
    await symlink('initctl', join(root, 'sbin', name));
  const names = Object.keys(upstart).filter((name) => !name.startsWith('sbin/'));
  for (const name of ['usr/sbin/invoke-rc.d', 'usr/sbin/service']) {
    await cp(join('/', name), join(root, name));
    names.push(name);
  }
  const paths = ['sbin/initctl', 'sbin/start', 'sbin/stop', 'sbin/restart', 'sbin/reload', 'sbin/status', 'etc/init'];
  const members = [...paths, ...names.filter((name) => !name.startsWith('etc/init/'))].map((name) => `./${name}`);
  const owner = [
    '--owner=root:0',
    '--group=root:0',
    '--mode=0755',
    '--format=pax',
    '--pax-option=delete=atime,delete=ctime',
  ];
  await exec('tar', ['--append', '--file', archivePath, ...owner, '--directory', root, ...members]);
}

interface TouchBuilds extends GuestBuilds {
  readonly basePath: string;
}

/** Files of a release beside the root file system, by their names. Nothing reads what is in the signature of a part. */
const release = {
  'device-42.tar.gz': gzipSync(craftTar({ name: 'partitions/boot.img', content: 'kernel' })),
  'device-42.tar.gz.asc': Buffer.from('-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n'),
  'version-1.tar': craftTar(
    { name: 'system/etc/ubuntu-build', content: '1' },
    { name: 'system/etc/system-image/channel.ini', content: '[service]\nbuild_number: 1\n' },
  ),
  'manifest.json': Buffer.from('{}'),
  'ubuntu.json': Buffer.from('{"generator": "cdimage-ubuntu", "version": "20140417"}'),
};

const keyring = await openKeyring();
test.after(async () => await keyring[Symbol.asyncDispose]());
await keyring.gpg(['--quick-generate-key', 'images', 'rsa2048', 'sign', 'never']);
const { key: imageKey } = readOpenPgpKey(await keyring.secretOf('images'), new Date());

/**
 * Builds of an archive that is packed by gzip, as it is published; or of a whole release, whose root file system is packed by xz
 * and lies below `system/`, as system-image servers have it.
 */
async function openBuilds(architecture: 'amd64' | 'armhf', isRelease: boolean): Promise<TouchBuilds> {
  const made = await makeTouchBase(baseImageCache, architecture, () => {});
  const base = { imageType: 'touch', ...made } as const;
  let basePath = made.path;
  const pack = async (path: string, directory: string) => {
    const archive = join(directory, 'base.tar');
    await cp(path, archive);
    await addUpstart(archive, directory);
    const packed = join(directory, isRelease ? 'ubuntu.tar.xz' : 'base.tar.gz');
    if (!isRelease) {
      await exec('sh', ['-c', 'gzip -1 < "$1" > "$2"', 'sh', archive, packed]);
      basePath = archive;
      return packed;
    }
    basePath = join(directory, 'system.tar');
    const [tree, attributes] = [join(directory, 'tree'), ['--xattrs', '--xattrs-include=*', '--numeric-owner']];
    await mkdir(tree);
    await exec('tar', ['--extract', '--file', archive, '--directory', tree, '--same-permissions', ...attributes]);
    // Names and targets of hard links, not those of symbolic links.
    const names = ['--transform', 's,^[.]/,system/,rhS', '--transform', 's,^[.]$,system,rhS', '--sort=name'];
    const options = ['--format=pax', '--pax-option=delete=atime,delete=ctime', '--directory', tree, ...names];
    await exec('tar', ['--create', '--file', basePath, ...attributes, ...options, '.']);
    await exec('sh', ['-c', 'xz -0 --threads=2 < "$1" > "$2"', 'sh', basePath, packed]);
    await rm(tree, { recursive: true });
    return packed;
  };
  const options = isRelease && imageKey !== null ? { others: release, imageKey } : {};
  const builds = await openGuestBuilds(base, [sample], pack, options);
  return { ...builds, basePath };
}

/** The entries of a packed archive, and the bytes that it unpacks to. */
async function unpack(path: string) {
  const tool = path.endsWith('.xz') ? 'xz' : 'gzip';
  await exec('sh', ['-c', '"$2" --decompress < "$1" > "$1.tar"', 'sh', path, tool]);
  return await readFileAsRoot(`${path}.tar`);
}

/** The result of a release: its parts as they were, names and a description as in a pool, and signatures. */
async function assertRelease({ path, image, artifacts }: BuiltImage): Promise<void> {
  const folder = dirname(path);
  assert.is(image.name, `ubuntu-${image.checksums.sha256}.tar.xz`);
  assert.match(image.base_image?.url ?? '', /ubuntu[.]tar[.]xz$/);
  const stem = image.name.replace('.tar.xz', '');
  const ends = ['.json', '.json.asc', '.manifest', '.changes.json', '.cdx.json', '.spdx.json', '.provenance.json'];
  const parts = ['device-42.tar.gz', 'device-42.tar.gz.asc', 'version-1.tar'] as const;
  assert.equal(
    artifacts.map(({ name }) => name).sort(),
    [...ends.map((end) => stem + end), `${image.name}.asc`, ...parts].sort(),
  );
  for (const name of parts) assert.ok(release[name].equals(await readFile(join(folder, name))), name);
  const description = JSON.parse(await readFile(join(folder, `${stem}.json`), 'utf8'));
  assert.match(description.version, /^20140417-[0-9a-f]{8}$/);
  for (const name of [image.name, `${stem}.json`]) {
    const verdicts = await keyring.verify(join(folder, `${name}.asc`), join(folder, name));
    assert.match(verdicts.join('\n'), /VALIDSIG/, name);
  }
  const { stdout } = await exec('python3', ['-c', reader, path, join(folder, `${stem}.json`)]);
  assert.is(stdout.trim(), 'accepted');
}

/**
 * Reads a root file system as system-image-server's lib/systemimage does: members in their order, contents by their names,
 * copied to GNU's format; the digest in the description is that of the file, and in its name.
 */
const reader = `
import hashlib, io, json, os, sys, tarfile
path, described = sys.argv[1:]
with open(path, "rb") as source:
    digest = hashlib.sha256(source.read()).hexdigest()
with open(described) as source:
    text = source.read()
metadata = json.loads(text)
assert text == json.dumps(metadata, sort_keys=True, indent=4, separators=(",", ": ")) + "\\n"
assert metadata["rootfs_checksum"] == digest and os.path.basename(path) == "ubuntu-%s.tar.xz" % digest
assert metadata["version_detail"] == "ubuntu=" + metadata["version"]
names = set()
with tarfile.open(path, "r:xz") as archive, open(os.devnull, "wb") as nowhere:
    with tarfile.open(fileobj=nowhere, mode="w|", format=tarfile.GNU_FORMAT) as copy:
        for member in archive:
            assert member.name not in names and (member.name + "/").startswith("system/"), member.name
            names.add(member.name)
            assert not member.islnk() or member.linkname in names, member.linkname
            copy.addfile(member, archive.extractfile(member.name) if member.isfile() else None)
assert "system/usr/bin/touch-sample" in names
print("accepted")
`;

async function assertChanged(basePath: string, path: string): Promise<RootArchive> {
  const [before, after] = [await readFileAsRoot(basePath), await unpack(path)];
  assert.equal([after.prefix, after.form], [before.prefix, before.form]);
  const gone = [...before.entries.keys()].filter((name) => !after.entries.has(name));
  assert.equal(gone, ['opt/things/removed']);
  const entry = (name: string) => after.entries.get(name) ?? assert.unreachable();
  const { uid, gid } = entry('etc/touch-sample.conf') as RootEntry;
  assert.equal([uid, gid], [123, 456]);
  const names = ['usr/bin/touch-sample', 'usr/bin/touch-sample-again'].map(entry) as RootEntry[];
  assert.equal(names.map(({ type }) => type).sort(), ['file', 'link']);
  assert.is(names.find(({ type }) => type === 'file')?.mode, 0o4755);
  // Both names of a file that has been written to, in the place that they had.
  assert.is(entry('opt/things/link-1')?.sizeBytes, 'one filemore'.length);
  assert.is(entry('opt/things/link-2')?.target, 'opt/things/link-1');
  assert.ok(entry('opt/things/capable')?.attributes.has('SCHILY.xattr.security.capability'));
  // No service was started, and nothing is left of the means.
  const left = [...after.entries.keys()].filter((name) => /imagebuilder|policy-rc\.d|^opt\/called$/.test(name));
  assert.equal(left, []);
  const programs = ['sbin/initctl', 'sbin/start', 'sbin/start-stop-daemon'];
  const listedPrograms = (archive: RootArchive) =>
    listed(archive).filter((line) => programs.some((name) => line.startsWith(`${name} `)));
  assert.is(listedPrograms(before).length, programs.length);
  assert.equal(listedPrograms(after), listedPrograms(before));
  for (const name of programs) assert.is(entry(name)?.sizeBytes, before.entries.get(name)?.sizeBytes);
  const kept = [...before.entries.keys()].filter((name) => after.entries.has(name));
  assert.equal([...after.entries.keys()].slice(0, kept.length), kept);
  return after;
}

/** The members of a result: all that is kept of them but times, and the sizes of dpkg's own files and of logs. */
function listed({ entries }: RootArchive): string[] {
  return [...entries].map(([path, { type, mode, uid, gid, target, attributes }]) =>
    [path, type, mode.toString(8), uid, gid, target, [...attributes.keys()]].join(' '),
  );
}

for (const architecture of ['amd64', 'armhf'] as const) {
  test(`${architecture}: an archive gets a package of a PPA by both guests, and all else of it stays`, async () => {
    const isRelease = architecture === 'amd64';
    await using builds = await openBuilds(architecture, isRelease);
    const results: RootArchive[] = [];
    for (const guest of ['host', 'vm'] as const) {
      const built = await builds.build(guest, ['touch-sample']);
      const { path, image } = built;
      assert.is(image.format, isRelease ? 'tar.xz' : 'tar.gz');
      if (isRelease) await assertRelease(built);
      assert.equal((await hashFile(path)).checksums, image.checksums);
      assert.ok(image.packages?.some(({ name }) => name === 'touch-sample'));
      results.push(await assertChanged(builds.basePath, path));
    }
    const [host, vm] = results as [RootArchive, RootArchive];
    assert.equal(listed(vm), listed(host));
  });
}

test.run();
