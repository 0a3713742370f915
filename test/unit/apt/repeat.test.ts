import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { InstalledPackage } from '#lib/apt/packages.ts';
import { assertRepeated, type FirstInstallation, repeatInstallation } from '#lib/apt/repeat.ts';

const first: FirstInstallation = {
  wanted: ['tool', 'present', 'mail-agent', 'pinned=2'],
  changed: [
    { name: 'library', version: '1.10' },
    { name: 'library:i386', version: '1.10' },
    { name: 'pinned', version: '2' },
    { name: 'postfix', version: '3' },
    { name: 'tool', version: '1' },
  ],
  removed: [{ name: 'rival' }],
  instead: new Map([['mail-agent', 'postfix']]),
};

const installed = (versions: Readonly<Record<string, string>>): InstalledPackage[] =>
  Object.entries(versions).map(([name, version]) => {
    const [bare = '', architecture = 'amd64'] = name.split(':');
    return { name: bare, architecture, version, state: 'installed' };
  });
const repeat = (versions: Readonly<Record<string, string>>) => repeatInstallation(first, installed(versions), 'amd64');

test('the same versions are asked for, with what was there already below', () => {
  const { specifications, unasked } = repeat({});
  const versions = ['library=1.10', 'library:i386=1.10', 'pinned=2', 'postfix=3', 'tool=1'];
  assert.equal(specifications, ['present', ...versions]);
  assert.equal(unasked, [
    { name: 'library', isNew: true },
    { name: 'library:i386', isNew: true },
    { name: 'postfix', isNew: true },
  ]);
});

test('packages of the same and of newer versions stay, and older ones are no new packages', () => {
  const { specifications, unasked } = repeat({ library: '1.9', 'library:i386': '1.10', postfix: '4', tool: '1' });
  assert.equal(specifications, ['present', 'library=1.10', 'pinned=2']);
  assert.equal(unasked, [{ name: 'library', isNew: false }]);
});

test('a file tree that has another version afterwards, or what was removed, is refused', () => {
  const all = { library: '1.10', 'library:i386': '1.10', pinned: '2', postfix: '4', tool: '1' };
  assertRepeated(first, installed(all), 'amd64');
  const check = (versions: Readonly<Record<string, string>>, expected: RegExp) =>
    assert.throws(() => assertRepeated(first, installed(versions), 'amd64'), expected);
  check({ ...all, library: '1.9' }, /library is 1\.9, where the layer below has 1\.10/);
  check({ ...all, tool: '0' }, /tool is 0/);
  check({ ...all, rival: '1' }, /rival is still there/);
  const { pinned: _, ...less } = all;
  check(less, /pinned is missing/);
});

test.run();
