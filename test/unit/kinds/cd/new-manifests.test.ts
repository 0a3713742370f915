import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  describes,
  updateDeltaManifest,
  updateFullManifest,
  updateKeptManifest,
  updateRemovedManifest,
} from '#lib/kinds/cd/new-manifests.ts';
import type { InstalledPackages } from '#lib/kinds/cd/package-status.ts';

const packages = (versions: Readonly<Record<string, string>>): InstalledPackages =>
  new Map(Object.entries(versions).map(([name, version]) => [name, { version, architecture: 'amd64' }]));

/** Below: a library and a tool. Here: a newer tool, words, and no rest. Then both get the new package and library. */
const below = {
  before: packages({ library: '1', rest: '1', tool: '1' }),
  after: packages({ added: '1', library: '2', rest: '1', tool: '2' }),
};
const here = {
  before: packages({ library: '1', tool: '2', words: '1' }),
  after: packages({ added: '1', library: '2', more: '1', tool: '2', words: '1' }),
};

test('a list of all packages gets those of its file tree', () => {
  assert.is(
    updateFullManifest('library:amd64\t1\ntool\t2\nwords\t1\n', here),
    'added\t1\nlibrary:amd64\t2\nmore\t1\ntool\t2\nwords\t1\n',
  );
});

test('a list of additions has only what differs from below then', () => {
  assert.is(updateDeltaManifest('tool\t2\nwords\t1\n', here, below), 'more\t1\nwords\t1\n');
});

test('a list as diff shows differences keeps its head, and has lines of both signs', () => {
  const head = '--- a.manifest.full\t2026\n+++ b.manifest.full\t2026\n';
  const before = `${head}-rest\t1\n-tool\t1\n+tool\t2\n+words\t1\n`;
  assert.is(updateDeltaManifest(before, here, below), `${head}+more\t1\n-rest\t1\n+words\t1\n`);
  const lower = { before: below.before, after: below.before };
  assert.is(
    updateDeltaManifest(before, here, lower).split('\n').sort().join('\n').trim(),
    `+++ b.manifest.full\t2026\n+added\t1\n+library\t2\n+more\t1\n+tool\t2\n+words\t1\n--- a.manifest.full\t2026\n-library\t1\n-rest\t1\n-tool\t1`,
  );
});

test('an installer keeps new packages, and goes on removing those of the live session', () => {
  // Of the file tree, it does not keep words.
  assert.is(updateKeptManifest('library:amd64 1\ntool 2\n', here), 'added 1\nlibrary:amd64 2\nmore 1\ntool 2\n');
  const upgraded = { before: packages({ live: '1', tool: '1' }), after: packages({ live: '2' }) };
  assert.is(updateKeptManifest('tool\t1\n', upgraded), '');
  assert.is(updateRemovedManifest('casper\nmore:amd64\nwords\nadded\t0\n# more\n', here), 'casper\nwords\n# more\n');
  assert.is(updateRemovedManifest('casper\nwords\n', here), 'casper\nwords\n');
});

test('a list describes the file tree whose packages it has, and no other', () => {
  assert.ok(describes('library:amd64\t1\ntool\t2\nwords 1\nsnap:core\tstable\t1\n', here.before));
  assert.not(describes('library\t1\ntool\t2\n', here.before));
  assert.not(describes('library\t1\ntool\t1\nwords\t1\n', here.before));
});

test.run();
