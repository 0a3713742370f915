import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { workerArchitecture } from '#lib/architecture.ts';
import { exec } from '#lib/exec.ts';
import { readCharmcraft } from '../../packaging/charm/charmcraft.ts';
import { makeCharm, makeCharmFolder } from '../../packaging/charm/pack.ts';
import { makeDebianPackage } from '../../packaging/deb.ts';
import { makeTarball } from '../../packaging/tarball.ts';

/** The packages of a release: that they are made anew alike, that they run, and what Debian's own checker says. */

const root = join(import.meta.dirname, '../..');
const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
const release = { root, version, seconds: 1_700_000_000 };
let directory: string;

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'imagebuilder-packages-'));
});
test.after(() => rm(directory, { recursive: true }));

/** Makes the archive in a folder of its own; resolves with its path. */
async function tarball(name: string): Promise<string> {
  const to = join(directory, name);
  await mkdir(to);
  return await makeTarball({ ...release, to });
}

test('the same files give the same archive, whatever the umask', async () => {
  const first = await readFile(await tarball('first'));
  const umask = process.umask(0o077);
  const second = await readFile(await tarball('second'));
  process.umask(umask);
  assert.is(first.compare(second), 0);
});

test('the archive unpacks below a prefix, where the command runs with the Node of the machine', async () => {
  const archive = join(directory, 'first', `imagebuilder-${version}.tar.gz`);
  const prefix = join(directory, 'prefix');
  await mkdir(prefix);
  await exec('tar', ['--extract', '--file', archive, '--directory', prefix, '--strip-components=1']);
  const env = { PATH: `${dirname(process.execPath)}:/usr/bin:/bin` };
  const { stdout } = await exec(join(prefix, 'bin/imagebuilder'), ['serve', '--help'], { env });
  assert.match(stdout, 'Usage: imagebuilder serve');
  const manual = await exec('man', ['--local-file', join(prefix, 'share/man/man1/imagebuilder.1.gz')], {
    env: { MANPAGER: 'cat' },
  });
  assert.match(manual.stdout, 'imagebuilder');
});

/** Makes the Debian package in a folder of its own; resolves with its path. */
async function debianPackage(name: string): Promise<string> {
  const to = join(directory, name);
  await mkdir(to);
  const maintainer = 'Image Builder <maintainers@imagebuilder.org>';
  return await makeDebianPackage({ ...release, maintainer, architecture: 'amd64', compression: ['gzip', 1], to });
}

test('the same files give the same Debian package', async () => {
  const [first, second] = [await debianPackage('deb-1'), await debianPackage('deb-2')];
  assert.is((await readFile(first)).compare(await readFile(second)), 0);
});

test('lintian finds no error in the Debian package', async () => {
  const path = join(directory, 'deb-1', `imagebuilder_${version}_amd64.deb`);
  const { stdout } = await exec('lintian', ['--fail-on', 'error', ...asRoot(), path], { okExitCodes: [0, 2] });
  assert.equal(
    stdout.split('\n').filter((line) => line.startsWith('E:')),
    [],
  );
});

test('the same files give the same charm: a sound zip file with modes, without folders and links, whose dispatch runs', async () => {
  const [first, second] = [await charm('charm-1'), await charm('charm-2')];
  assert.is((await readFile(first)).compare(await readFile(second)), 0);
  await exec('unzip', ['-tq', first]);
  const { stdout } = await exec('zipinfo', [first]);
  // Two lines before them, and one after them.
  const lines = stdout.trimEnd().split('\n').slice(2, -1);
  const modes = new Map(lines.map((line) => [line.split(/\s+/).at(-1) ?? '', line.slice(0, 10)]));
  assert.equal([...new Set(modes.values())].toSorted(), ['-rw-r--r--', '-rwxr-xr-x']);
  for (const name of ['dispatch', 'src/main.ts', 'node/bin/node', 'program/lib/imagebuilder/bin/imagebuilder']) {
    assert.is(modes.get(name), '-rwxr-xr-x', name);
  }
  for (const name of ['metadata', 'manifest', 'config', 'actions']) assert.ok(modes.has(`${name}.yaml`), name);

  const folder = join(directory, 'charm');
  await exec('unzip', ['-q', first, '-d', folder]);
  const { stderr } = await exec(join(folder, 'dispatch'), [], { okExitCodes: [1] });
  assert.match(stderr, 'dispatch is run by Juju');
});

test('the folder for `charmcraft pack` has what the part of charmcraft.yaml names, and none of the files that it generates', async () => {
  const folder = await makeCharmFolder({ ...release, architecture: workerArchitecture, to: directory });
  const { parts } = readCharmcraft(await readFile(join(folder, 'charmcraft.yaml'), 'utf8'));
  const names = (await readdir(folder)).filter((name) => name !== 'charmcraft.yaml');
  assert.equal(
    names.toSorted(),
    Object.values(parts)
      .flatMap(({ prime }) => prime)
      .toSorted(),
  );
});

/** Makes the charm in a folder of its own; resolves with its path. */
async function charm(name: string): Promise<string> {
  const to = join(directory, name);
  await mkdir(to);
  return await makeCharm({ ...release, architecture: workerArchitecture, level: 1, to });
}

/** lintian asks root to mean it. */
const asRoot = () => (process.getuid?.() === 0 ? ['--allow-root'] : []);

test.run();
