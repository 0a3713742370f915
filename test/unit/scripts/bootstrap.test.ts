import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { missingPackages, packageGroups } from '../../../scripts/setup/debian.mjs';
import { ensureNpmPackages, isInstalled, nodeBinary } from '../../../scripts/setup/npm.mjs';

test('nothing is missing where one alternative is installed', () => {
  assert.equal(missingPackages(['a', 'b | c'], new Set(['a', 'c']), new Set()), []);
});

test('of alternatives the first that apt knows is installed, and each package once', () => {
  assert.equal(missingPackages(['b | c', 'c', 'd'], new Set(['d']), new Set(['c'])), ['c']);
});

test('a package that apt does not know is named all the same, so that its error says so', () => {
  assert.equal(missingPackages(['a | b'], new Set(), new Set()), ['a']);
});

test('unit tests and help need no Debian packages, checks those of the linters', () => {
  assert.equal(packageGroups('test/run.ts', ['check', 'unit']), ['lint']);
  assert.equal(packageGroups('test/run.ts', ['unit', 'queue']), []);
  assert.equal(packageGroups('quickstart/main.ts', ['--help']), []);
  assert.equal(packageGroups('scripts/generate-docs.ts', []), []);
});

test('system tests, the quickstart and the benchmark ask for what they use', () => {
  assert.ok(packageGroups('test/run.ts', []).includes('test'));
  assert.ok(packageGroups('test/run.ts', ['system', 'queue']).includes('test'));
  assert.ok(packageGroups('test/run.ts', ['long']).includes('boot'));
  assert.not.ok(packageGroups('quickstart/main.ts', []).includes('boot'));
  assert.not.ok(packageGroups('quickstart/main.ts', [], true).includes('vm'));
  for (const group of ['vm', 'rootless']) assert.ok(packageGroups('quickstart/main.ts', [], false).includes(group));
  assert.ok(packageGroups('quickstart/main.ts', ['--boot']).includes('boot'));
  assert.ok(packageGroups('bench/main.ts', []).includes('bench'));
  assert.ok(packageGroups('bench/main.ts', ['--kind', 'cd']).includes('cd'));
  assert.ok(packageGroups('bin/imagebuilder.ts', ['serve']).includes('vm'));
});

test('every group that is asked for is in the list of packages', async () => {
  const path = new URL('../../../scripts/debian-packages.json', import.meta.url);
  const groups = Object.keys(JSON.parse(await readFile(path, 'utf8')) as Record<string, string[]>);
  const asked = [
    ...packageGroups('test/run.ts', []),
    ...packageGroups('quickstart/main.ts', ['--boot', '--cd', '--touch'], false),
    ...packageGroups('bench/main.ts', []),
    ...packageGroups('packaging/charm/main.ts', []),
  ];
  assert.equal([...new Set(asked)].sort(), groups.sort());
});

const nodePackage = `node_modules/node-${process.platform}-${process.arch}`;

async function inFolder(action: (root: string, write: (path: string, text: string) => Promise<void>) => Promise<void>) {
  const root = await mkdtemp(join(tmpdir(), 'imagebuilder-npm-'));
  try {
    await action(root, async (path, text) => {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), text);
    });
  } finally {
    await rm(root, { recursive: true });
  }
}

test('npm packages count as installed only while they are those of the lock file, and Node is there', () =>
  inFolder(async (root, write) => {
    const lock = (packages: Record<string, { version: string; optional?: boolean }>) => JSON.stringify({ packages });
    const own = { '': { version: '0.1.0' } };
    const a = { 'node_modules/a': { version: '1.0.0' } };
    const node = { [nodePackage]: { version: '24.0.0', optional: true } };
    const other = { 'node_modules/b': { version: '1.0.0', optional: true } };
    await write('package-lock.json', lock({ ...own, ...a, ...node, ...other }));
    assert.not.ok(isInstalled(root), 'no node_modules');

    await write('node_modules/.package-lock.json', lock({ ...a, ...node }));
    assert.not.ok(isInstalled(root), 'no Node');
    await write('node_modules/.bin/node', '');
    assert.ok(isInstalled(root), 'an optional package of another platform may be absent');
    assert.is(nodeBinary(root), join(root, 'node_modules/.bin/node'));

    await write('package-lock.json', lock({ ...own, ...node, 'node_modules/a': { version: '1.0.1' } }));
    assert.not.ok(isInstalled(root), 'another version');
    await write('package-lock.json', lock({ ...own, ...node, ...a, 'node_modules/c': { version: '1.0.0' } }));
    assert.not.ok(isInstalled(root), 'one more');
    await write('package-lock.json', lock({ ...own, ...node }));
    assert.not.ok(isInstalled(root), 'one less');
    await write('package-lock.json', lock({ ...own, ...node, ...a }));
    await write('node_modules/.package-lock.json', lock({ ...a, 'node_modules/node': { version: '24.0.0' } }));
    assert.not.ok(isInstalled(root), 'a Node that an install script fetched');
    await write('node_modules/.package-lock.json', '{ broken');
    assert.not.ok(isInstalled(root), 'a damaged record');
  }));

test('a platform without a Node of ours takes the one that it has', () =>
  inFolder(async (root, write) => {
    const packages = { 'node_modules/a': { version: '1.0.0' } };
    await write('package-lock.json', JSON.stringify({ packages }));
    await write('node_modules/.package-lock.json', JSON.stringify({ packages }));
    assert.ok(isInstalled(root));
    assert.is(nodeBinary(root), process.execPath);
  }));

test('packages that a checkout shares by a link stay as they are where it needs others', () =>
  inFolder(async (root, write) => {
    await write('shared/kept/index.js', '');
    await symlink(join(root, 'shared'), join(root, 'node_modules'));
    await write('package.json', '{}');
    await write('package-lock.json', JSON.stringify({ lockfileVersion: 3, packages: { '': {} } }));
    await ensureNpmPackages(root, () => undefined);
    assert.equal(await readdir(join(root, 'shared')), ['kept']);
  }));

test('a registry that does not serve Node ends the set-up, though npm goes on without what is optional', () =>
  inFolder(async (root, write) => {
    const name = nodePackage.replace('node_modules/', '');
    const optionalDependencies = { [name]: '24.0.0' };
    const entry = { version: '24.0.0', optional: true, integrity: `sha512-${Buffer.alloc(64).toString('base64')}` };
    const packages = { '': { optionalDependencies }, [nodePackage]: entry };
    await write('package.json', JSON.stringify({ optionalDependencies }));
    await write('package-lock.json', JSON.stringify({ lockfileVersion: 3, packages }));
    const registry = createServer((_request, response) => response.writeHead(404).end()).listen(0, '127.0.0.1');
    await once(registry, 'listening');
    const { port } = registry.address() as AddressInfo;
    await write('.npmrc', `registry=http://127.0.0.1:${port}/\ncache=${join(root, 'npm-cache')}\n`);
    const said: string[] = [];
    try {
      assert.not.ok(await ensureNpmPackages(root, (line) => said.push(line)));
    } finally {
      registry.close();
    }
    assert.match(said.join('\n'), /did not fetch everything/);
  }));

test('arguments before the entry file are options of Node', () =>
  inFolder(async (folder, write) => {
    await write('entry.mjs', 'console.log(JSON.stringify([process.execArgv, process.argv.slice(2)]))');
    const root = join(import.meta.dirname, '../../..');
    const entry = relative(root, join(folder, 'entry.mjs'));
    const { stdout } = await exec(process.execPath, ['scripts/bootstrap.mjs', '--no-warnings', entry, '--watch', 'b'], {
      cwd: root,
    });
    assert.equal(JSON.parse(stdout), [['--no-warnings'], ['--watch', 'b']]);
  }));

test('npm verifies every package by the digest in the lock file, and runs no script of any', async () => {
  const read = async (name: string) => await readFile(join(import.meta.dirname, '../../..', name), 'utf8');
  const { packages } = JSON.parse(await read('package-lock.json')) as { packages: Record<string, object> };
  const { '': own, ...others } = packages;
  assert.ok(Object.keys(others).length > 0);
  for (const [name, entry] of Object.entries(others)) {
    assert.match('integrity' in entry ? String(entry.integrity) : '', /^sha512-/, name);
    assert.not.ok('hasInstallScript' in entry, name);
    assert.not.ok('resolved' in entry, `${name} names a registry`);
  }
  for (const architecture of ['x64', 'arm64']) assert.ok(`node_modules/node-linux-${architecture}` in others);
  for (const kind of ['dependencies', 'devDependencies', 'optionalDependencies']) {
    const versions = Object.entries((own as Record<string, Record<string, string>>)[kind] ?? {});
    for (const [name, version] of versions) assert.match(version, /^[0-9]+\.[0-9]+\.[0-9]+$/, name);
  }
  assert.match(await read('.npmrc'), /^ignore-scripts=true$/m);
});

test.run();
