import { cp, mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { hashFile } from '#lib/image/digest.ts';
import type { RootArchive, RootEntry } from '#lib/tar/root-archive.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeTouchBase } from '../../lab/images/touch-base.ts';
import type { PackageRecipe } from '../../lab/servers/launchpad.ts';
import { readFileAsRoot } from '../tar/read.ts';
import { type GuestBuilds, openGuestBuilds } from './guest-builds.ts';

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

/** Builds of an archive that is packed by gzip. */
async function openBuilds(architecture: 'amd64' | 'armhf'): Promise<TouchBuilds> {
  const made = await makeTouchBase(baseImageCache, architecture, () => {});
  const base = { imageType: 'touch', ...made } as const;
  const pack = async (path: string, directory: string) => {
    const archive = join(directory, 'base.tar');
    await cp(path, archive);
    await addUpstart(archive, directory);
    await exec('sh', ['-c', 'gzip -1 < "$1" > "$1.gz"', 'sh', archive]);
    return `${archive}.gz`;
  };
  const builds = await openGuestBuilds(base, [sample], pack);
  return { ...builds, basePath: join(builds.directory, 'base.tar') };
}

/** The entries of a packed archive, and the bytes that it unpacks to. */
async function unpack(path: string) {
  await exec('sh', ['-c', 'gzip --decompress < "$1" > "$1.tar"', 'sh', path]);
  return await readFileAsRoot(`${path}.tar`);
}

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
    await using builds = await openBuilds(architecture);
    const results: RootArchive[] = [];
    for (const guest of ['host', 'vm'] as const) {
      const { path, image } = await builds.build(guest, ['touch-sample']);
      assert.is(image.format, 'tar.gz');
      assert.equal((await hashFile(path)).checksums, image.checksums);
      assert.ok(image.packages?.some(({ name }) => name === 'touch-sample'));
      results.push(await assertChanged(builds.basePath, path));
    }
    const [host, vm] = results as [RootArchive, RootArchive];
    assert.equal(listed(vm), listed(host));
  });
}

test.run();
