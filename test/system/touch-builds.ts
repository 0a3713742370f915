import { cp, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import type { OpenPgpKey } from '#lib/openpgp/signing-key.ts';
import type { RootArchive } from '#lib/tar/root-archive.ts';
import type { RootEntry } from '#lib/tar/root-entry.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeTouchBase } from '../../lab/images/touch-base.ts';
import type { PackageRecipe } from '../../lab/servers/launchpad.ts';
import { craftTar } from '../tar/craft.ts';
import { readFileAsRoot } from '../tar/read.ts';
import { type GuestBuilds, openGuestBuilds } from './guest-builds.ts';
import { servicePackage, startedMark } from './service-package.ts';

/** Whole builds of archives of a root file system, and what is expected of them. */

/** Files of a release beside the root file system, by their names. Nothing reads what is in the signature of a part. */
export const release = {
  'device-42.tar.gz': gzipSync(craftTar({ name: 'partitions/boot.img', content: 'kernel' })),
  'device-42.tar.gz.asc': Buffer.from('-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n'),
  'version-1.tar': craftTar(
    { name: 'system/etc/ubuntu-build', content: '1' },
    { name: 'system/etc/system-image/channel.ini', content: '[service]\nbuild_number: 1\n' },
  ),
  'manifest.json': Buffer.from('{}'),
  'ubuntu.json': Buffer.from('{"generator": "cdimage-ubuntu", "version": "20140417"}'),
};

/** Starts a daemon in all ways of upstart's time. */
const startUpstart = `
initctl start touch-daemon
initctl emit touch-event
start touch-daemon
/sbin/restart touch-daemon
reload touch-daemon
service touch-daemon start
invoke-rc.d touch-daemon start
`;

const sampleFor = (init: TouchInit): PackageRecipe => ({
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
${init === 'upstart' ? startUpstart : ''}
printf more >> /opt/things/link-2
`,
  },
});

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

export type TouchInit = 'upstart' | 'systemd';

/** The archive of a base and the way that it is packed. */
export interface TouchForm {
  readonly architecture: 'amd64' | 'arm64' | 'armhf';
  /** The program that starts its services. Default: upstart. */
  readonly init?: TouchInit;
  /** The files of a whole release beside the root file system, which is packed by xz then, and lies below `system/`. */
  readonly release?: Readonly<Record<string, Buffer>>;
  readonly imageKey?: OpenPgpKey | null;
}

export interface TouchBuilds extends GuestBuilds {
  /** The base without its compression. */
  readonly basePath: string;
  readonly init: TouchInit;
}

/**
 * Builds of an archive that is packed by gzip, as it is published; or of a whole release, whose root file system is packed by xz
 * and lies below `system/`, as system-image servers have it.
 */
export async function openTouchBuilds({
  architecture,
  init = 'upstart',
  release,
  imageKey,
}: TouchForm): Promise<TouchBuilds> {
  const variant = init === 'systemd' ? 'systemd' : 'plain';
  const made = await makeTouchBase(baseImageCache, architecture, () => {}, variant);
  const base = { imageType: 'touch', ...made } as const;
  let basePath = made.path;
  const pack = async (path: string, directory: string) => {
    const archive = join(directory, 'base.tar');
    await cp(path, archive);
    if (init === 'upstart') await addUpstart(archive, directory);
    const packed = join(directory, release === undefined ? 'base.tar.gz' : 'ubuntu.tar.xz');
    if (release === undefined) {
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
  const options = { ...(release && { others: release }), ...(imageKey && { imageKey }) };
  const builds = await openGuestBuilds(base, [sampleFor(init), servicePackage], pack, options);
  return { ...builds, basePath, init };
}

/** The entries of a packed archive, and the bytes that it unpacks to. */
export async function unpackTouch(path: string) {
  const tool = path.endsWith('.xz') ? 'xz' : 'gzip';
  await exec('sh', ['-c', '"$2" --decompress < "$1" > "$1.tar"', 'sh', path, tool]);
  return await readFileAsRoot(`${path}.tar`);
}

/** Compares a result with its base: the sample package is in it, and all else has stayed. */
export async function assertChanged({ basePath, init }: TouchBuilds, path: string): Promise<RootArchive> {
  const [before, after] = [await readFileAsRoot(basePath), await unpackTouch(path)];
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
  assert.not(after.entries.has(startedMark.slice(1)));
  assert.equal(left, []);
  const programs = ['sbin/start-stop-daemon', ...(init === 'upstart' ? ['sbin/initctl', 'sbin/start'] : [])];
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
export function listed({ entries }: RootArchive): string[] {
  return [...entries].map(([path, { type, mode, uid, gid, target, attributes }]) =>
    [path, type, mode.toString(8), uid, gid, target, [...attributes.keys()]].join(' '),
  );
}
