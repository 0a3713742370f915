import { createHash } from 'node:crypto';
import { readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type FileCache, openCache } from '#lib/fetch/cache.ts';
import { temporaryFolder } from './with-server.ts';

const digestOf = (text: string) => createHash('sha256').update(text).digest('hex');

async function put(cache: FileCache, url: string, text: string): Promise<string> {
  const part = cache.partPath();
  await writeFile(part, text);
  const sha256 = digestOf(text);
  await cache.add(part, {
    url,
    sha256,
    sizeBytes: text.length,
    etag: '"e"',
    lastModified: null,
    origin: 'http://a',
    secure: false,
    validatedAtMs: Date.now(),
  });
  return sha256;
}

test('added content is found by the URL that served it, by another cache on the same folder too', async () => {
  await using folder = await temporaryFolder();
  const sha256 = await put(await openCache(folder.path, 1000), 'http://a/x', 'content');
  const cache = await openCache(folder.path, 1000);
  assert.is((await cache.find('http://a/x'))?.sha256, sha256);
  assert.is(await cache.find('http://a/y'), null);
  const target = join(folder.path, 'mine');
  assert.is(await cache.linkTo(sha256, target), true);
  assert.is(await readFile(target, 'utf8'), 'content');
});

test('eviction drops the least recently used until the limit holds', async () => {
  await using folder = await temporaryFolder();
  const cache = await openCache(folder.path, 20);
  for (const [index, text] of ['first-----', 'second----', 'third-----'].entries()) {
    const sha256 = await put(cache, `http://a/${index}`, text);
    await utimes(join(folder.path, 'blobs', sha256), 1000 + index, 1);
  }
  assert.ok(await cache.find('http://a/0'));
  await cache.evict();
  assert.ok(await cache.find('http://a/0'));
  assert.is(await cache.find('http://a/1'), null);
  assert.ok(await cache.find('http://a/2'));
  assert.is((await readdir(join(folder.path, 'urls'))).length, 2);
});

test('eviction takes nothing from under its users', async () => {
  await using folder = await temporaryFolder();
  const cache = await openCache(folder.path, 0);
  const sha256 = await put(cache, 'http://a/x', 'in use');
  const target = join(folder.path, 'mine');
  await cache.linkTo(sha256, target);
  await using file = await cache.open(sha256);
  await cache.evict();
  assert.is(await cache.linkTo(sha256, join(folder.path, 'late')), false);
  assert.is(await readFile(target, 'utf8'), 'in use');
  assert.is(await file?.readFile('utf8'), 'in use');
});

test('content that was written to, through a hard link even, is dropped at its next use', async () => {
  await using folder = await temporaryFolder();
  const cache = await openCache(folder.path, 1000);
  const sha256 = await put(cache, 'http://a/x', 'content');
  const target = join(folder.path, 'mine');
  await cache.linkTo(sha256, target);
  await writeFile(target, 'changed');
  assert.is(await cache.find('http://a/x'), null);
  assert.equal(await readdir(join(folder.path, 'blobs')), []);
});

test('a damaged index entry is no entry', async () => {
  await using folder = await temporaryFolder();
  const cache = await openCache(folder.path, 1000);
  await put(cache, 'http://a/x', 'content');
  const [name = ''] = await readdir(join(folder.path, 'urls'));
  for (const text of ['', '{"url"', '{"url":"http://a/x"}']) {
    await writeFile(join(folder.path, 'urls', name), text);
    assert.is(await cache.find('http://a/x'), null);
  }
});

test('leftovers of dead downloads are swept after a day, not before', async () => {
  await using folder = await temporaryFolder();
  const cache = await openCache(folder.path, 1000);
  const old = cache.partPath('old');
  const young = cache.partPath('young');
  for (const path of [old, young]) await writeFile(path, 'x');
  // A whole one, which another worker is about to move to its place.
  const added = cache.partPath('added');
  await writeFile(added, 'x');
  await utimes(added, Date.now() / 1000, 1);
  const twoDaysAgo = Date.now() / 1000 - 2 * 24 * 60 * 60;
  await utimes(old, twoDaysAgo, twoDaysAgo);
  await cache.evict();
  assert.equal(
    (await readdir(join(folder.path, 'parts'))).map((name) => join(folder.path, 'parts', name)).sort(),
    [young, added].sort(),
  );
});

test.run();
