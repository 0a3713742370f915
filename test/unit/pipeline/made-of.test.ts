import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseDownloads } from '#lib/apt/downloads.ts';
import { differenceOf, digestReleases, type MadeOf, madeOf } from '#lib/pipeline/made-of.ts';
import { isOffline } from '#lib/pipeline/offline.ts';

const uri = (name: string, version = '1.0', sha256 = 'a'.repeat(64)) =>
  `'http://a.example/pool/${name}_${version}_amd64.deb' ${name}_${version}_amd64.deb 100 SHA256:${sha256}`;
const plan = (uris: readonly string[], remove: readonly string[] = []) => ({
  install: uris.map((_, index) => `package-${index}`),
  remove,
  downloads: parseDownloads(uris, []),
});
const made = (uris: readonly string[], remove: readonly string[] = [], releases: readonly string[] = []): MadeOf => {
  const found = madeOf(releases, plan(uris, remove));
  assert.ok(found);
  return found;
};

test('images are made of the same where packages, digests, removals and Release files are the same, in any order', () => {
  const before = made([uri('one'), uri('two')], ['x', 'y'], ['r']);
  assert.is(differenceOf(before, made([uri('two'), uri('one')], ['y', 'x'], ['r'])), null);
  const others: [MadeOf, string][] = [
    [made([uri('one'), uri('two', '2.0')], ['x', 'y'], ['r']), 'two 2.0 would be installed now'],
    [made([uri('one'), uri('two', '1.0', 'b'.repeat(64))], ['x', 'y'], ['r']), 'two 1.0 would be installed now'],
    [made([uri('one')], ['x', 'y'], ['r']), 'two 1.0 would not be installed now'],
    [made([uri('one'), uri('two')], ['x'], ['r']), 'other packages would be removed now'],
    [made([uri('one'), uri('two')], ['x', 'y'], ['s']), 'repositories have been published anew since'],
  ];
  for (const [now, reason] of others) assert.is(differenceOf(before, now), reason);
});

test('packages of which apt gives no digest cannot be compared', () => {
  assert.is(madeOf([], plan([uri('one').replace(/SHA256:.*/, 'MD5Sum:00')])), null);
  assert.is(madeOf([], { ...plan([uri('one')]), install: ['one', 'two'] }), null);
});

test('Release files count by their content, whatever apt calls them', () => {
  const files = (...entries: [string, string][]) => new Map(entries.map(([name, text]) => [name, Buffer.from(text)]));
  assert.equal(digestReleases(files(['a_InRelease', '1'], ['b', '2'])), digestReleases(files(['c', '2'], ['d', '1'])));
  assert.not.equal(digestReleases(files(['a', '1'])), digestReleases(files(['a', '2'])));
});

test('an installation is offline where nothing but its packages was fetched, from whatever mirror', () => {
  const downloads = [{ url: 'mirror+file:/etc/apt/m.list/pool/a_1%3a1.0_all.deb' }, { url: 'https://s.example/b.deb' }];
  assert.ok(isOffline([], downloads));
  assert.ok(isOffline(['http://m.example/pool/a_1%3a1.0_all.deb', 'https://s.example:443/'], downloads));
  assert.ok(isOffline(['http://m.example/pool/a_1:1.0_all.deb'], downloads));
  for (const asked of ['http://fonts.example/font.exe', 'https://other.example:443/', 'nonsense'])
    assert.not.ok(isOffline([asked], downloads), asked);
});

test.run();
