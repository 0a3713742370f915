import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseDownloads } from '#lib/apt/downloads.ts';
import type { PpaSource } from '#lib/apt/launchpad.ts';
import {
  fittingLayers,
  mayShare,
  nameOf,
  newLayer,
  sharedPackages,
  specificationOf,
} from '#lib/pipeline/layer-choice.ts';
import type { Layer } from '#lib/pipeline/layer-store.ts';

const source = (url: string): PpaSource => ({
  ...{ ppa: { owner: 'project', name: 'one' }, url },
  key: { fingerprint: 'A'.repeat(40), armored: '', binary: new Uint8Array(), weakness: null },
});
const uri = (name: string, server = 'http://archive.example', hash = `SHA256:${'a'.repeat(64)}`) =>
  `'${server}/pool/${name}_1.0_amd64.deb' ${name}_1.0_amd64.deb 100 ${hash}`;
const planOf = (uris: readonly string[], remove: readonly string[] = []) => ({
  ...{ install: uris.map((_, index) => `package-${index}`), remove, instead: new Map<string, string>() },
  downloads: parseDownloads(uris, []),
});
const entry = (name: string, version = '1.0') => `${name} ${version} amd64 sha256:aa`;
const entries = (names: string) => [...names].map((name) => entry(name));
const layer = (names: string): Layer => ({
  ...{ wanted: [], packages: entries(names), present: [], openedSeconds: 0 },
  ...{ sha256: names, sizeBytes: 1, madeAt: '' },
});
const seen = (names: string, wanted: readonly string[] = []) => ({ wanted, packages: entries(names), own: {} });

test('packages are shared but for those of the PPAs, by whatever scheme and whatever their neighbours are called', () => {
  const ppa = 'http://ppa.example/project/one/ubuntu';
  const sources = [source('https://ppa.example/project/one/ubuntu')];
  const plan = planOf([uri('git'), uri('own', ppa), uri('other', 'http://ppa.example/project/one/ubuntu-other')]);
  assert.equal(sharedPackages(plan, sources).map(nameOf), ['git', 'other']);
  assert.equal(sharedPackages(plan, []).map(nameOf), ['git', 'other', 'own']);
});

test('nothing is shared where packages are removed, or the digest of one is unknown', () => {
  assert.equal(sharedPackages(planOf([uri('git')], ['old']), []), []);
  assert.equal(sharedPackages(planOf([uri('git'), uri('jq', 'http://archive.example', 'MD5Sum:00')]), []), []);
  assert.equal(sharedPackages({ ...planOf([uri('git')]), install: ['git', 'jq'] }, []), []);
});

test('a build begins with the largest layer of which it needs every package, in the same version with the same digest', () => {
  const layers = [layer('abc'), layer('abcde'), layer('abx')];
  const fitting = (packages: readonly string[]) => fittingLayers(layers, packages).map(({ sha256 }) => sha256);
  assert.equal(fitting(entries('abcdef')), ['abcde', 'abc']);
  assert.equal(fitting(entries('abcd')), ['abc']);
  assert.equal(fitting(entries('ab')), []);
  assert.equal(fitting([...entries('ab'), entry('c', '1.1')]), []);
  assert.equal(fitting([...entries('ab'), 'c 1.0 amd64 sha256:bb']), []);
});

test('a layer is made of what an earlier build had too, where that is enough and more than what there is', () => {
  const shelf = { seen: [seen('abcdefg'), seen('efghijklm')], layers: [], refused: [] };
  assert.equal(newLayer(shelf, entries('abcdefxyz'), 100), entries('abcdef'));
  assert.equal(newLayer(shelf, entries('abcdefghijklm'), 100), entries('efghijklm'));
  assert.is(newLayer(shelf, entries('abcdxyz'), 100), null);
  assert.is(newLayer({ ...shelf, layers: [layer('efgh')] }, entries('efghijklxyz'), 100), null);
  assert.equal(newLayer({ ...shelf, layers: [layer('efgh')] }, entries('efghijklm'), 100), entries('efghijklm'));
});

test('packages of which no layer could be made are not tried again, nor more than these', () => {
  const shelf = { seen: [seen('abcdefg')], layers: [], refused: [{ packages: entries('abcde'), sizeBytes: null }] };
  assert.is(newLayer(shelf, entries('abcdefg'), 100), null);
  assert.is(newLayer(shelf, entries('abcde'), 100), null);
  assert.equal(newLayer(shelf, entries('abcdfg'), 100), entries('abcdfg'));
});

test('packages whose layer the cache had no room for are tried again once it has', () => {
  const shelf = { seen: [seen('abcdefg')], layers: [], refused: [{ packages: entries('abcde'), sizeBytes: 101 }] };
  assert.is(newLayer(shelf, entries('abcdefg'), 100), null);
  assert.equal(newLayer(shelf, entries('abcdefg'), 101), entries('abcdefg'));
});

test('apt is not asked for a request that shares no name with one that was seen', () => {
  const shelf = { seen: [seen('ab', ['own-site'])], layers: [layer('yz')] };
  for (const name of ['own-site', 'own-site=2.0', 'a', 'b:amd64', 'z/stable']) assert.ok(mayShare([name], shelf), name);
  for (const name of ['own', 'c', 'own-site-2']) assert.not.ok(mayShare([name], shelf), name);
  assert.not.ok(mayShare(['a'], { seen: [], layers: [] }));
});

test('apt is asked for the very packages, those of another architecture by that', () => {
  assert.is(specificationOf('git 1:2.39 amd64 sha256:aa', 'amd64'), 'git=1:2.39');
  assert.is(specificationOf('git-man 1:2.39 all sha256:aa', 'amd64'), 'git-man=1:2.39');
  assert.is(specificationOf('libc6 2.36 i386 sha256:aa', 'amd64'), 'libc6:i386=2.36');
});

test.run();
