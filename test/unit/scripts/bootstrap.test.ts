import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { missingPackages, packageGroups } from '../../../scripts/setup/debian.mjs';
import { isInstalled, nodeBinary } from '../../../scripts/setup/npm.mjs';

test('nothing is missing where one alternative is installed', () => {
  assert.equal(missingPackages(['a', 'b | c'], new Set(['a', 'c']), new Set()), []);
});

test('of alternatives the first that apt knows is installed, and each package once', () => {
  assert.equal(missingPackages(['b | c', 'c', 'd'], new Set(['d']), new Set(['c'])), ['c']);
});

test('what apt does not know is named all the same, so that its error says so', () => {
  assert.equal(missingPackages(['a | b'], new Set(), new Set()), ['a']);
});

test('unit tests and help need no Debian packages', () => {
  assert.equal(packageGroups('test/run.ts', ['check', 'unit']), []);
  assert.equal(packageGroups('test/run.ts', ['unit', 'queue']), []);
  assert.equal(packageGroups('quickstart/main.ts', ['--help']), []);
  assert.equal(packageGroups('scripts/generate-docs.ts', []), []);
});

test('system tests, the quickstart and the benchmark ask for what they use', () => {
  assert.ok(packageGroups('test/run.ts', []).includes('test'));
  assert.ok(packageGroups('test/run.ts', ['system', 'queue']).includes('test'));
  assert.not.ok(packageGroups('quickstart/main.ts', []).includes('boot'));
  assert.ok(packageGroups('quickstart/main.ts', ['--boot']).includes('boot'));
  assert.ok(packageGroups('bench/main.ts', []).includes('bench'));
});

test('every group that is asked for is in the list of packages', async () => {
  const path = new URL('../../../scripts/debian-packages.json', import.meta.url);
  const groups = Object.keys(JSON.parse(await readFile(path, 'utf8')) as Record<string, string[]>);
  const asked = [
    ...packageGroups('test/run.ts', []),
    ...packageGroups('quickstart/main.ts', ['--boot']),
    ...packageGroups('bench/main.ts', []),
  ];
  assert.equal([...new Set(asked)].sort(), groups.sort());
});

test('npm packages count as installed only while they are those of the lock file, and Node is there', async () => {
  const root = await mkdtemp(join(tmpdir(), 'imagebuilder-npm-'));
  const lock = (packages: Record<string, { version: string; optional?: boolean }>) => JSON.stringify({ packages });
  const write = async (path: string, text: string) => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  };
  try {
    const own = { '': { version: '0.1.0' } };
    const a = { 'node_modules/a': { version: '1.0.0' } };
    const other = { 'node_modules/b': { version: '1.0.0', optional: true } };
    await write('package-lock.json', lock({ ...own, ...a, ...other }));
    assert.not.ok(isInstalled(root), 'no node_modules');

    await write('node_modules/.package-lock.json', lock(a));
    assert.not.ok(isInstalled(root), 'no Node');
    await write(nodeBinary, '');
    assert.ok(isInstalled(root), 'an optional package of another platform may be absent');

    await write('package-lock.json', lock({ ...own, 'node_modules/a': { version: '1.0.1' } }));
    assert.not.ok(isInstalled(root), 'another version');
    await write('package-lock.json', lock({ ...own, ...a, 'node_modules/c': { version: '1.0.0' } }));
    assert.not.ok(isInstalled(root), 'one more');
    await write('package-lock.json', lock(own));
    assert.not.ok(isInstalled(root), 'one less');

    await write('node_modules/.package-lock.json', '{ broken');
    assert.not.ok(isInstalled(root), 'a damaged record');
  } finally {
    await rm(root, { recursive: true });
  }
});

test.run();
