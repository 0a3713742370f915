import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openCache } from '#lib/fetch/cache.ts';
import { writeRest } from '#lib/image/shared-runs.ts';
import { type FinishedBuild, openFinishedBuilds } from '#lib/pipeline/finished-builds.ts';
import { makeRoomInCaches } from '#lib/pipeline/make-room.ts';
import { temporaryFolder } from '../fetch/with-server.ts';
import { outsideState } from './outside-state.ts';

const { signal } = new AbortController();
const hash = (algorithm: string, text: string) => createHash(algorithm).update(text).digest('hex');
const key = (letter: string) => letter.repeat(64);

/** A build whose image has this content. */
function buildOf(content: string, buildId = content): FinishedBuild {
  const before = {
    packages: [],
    rooms: [],
    foreignArchitectures: [],
    aptArchitectures: false,
    distribution: 'debian',
    distributionVersion: '12',
  };
  const checksums = { sha256: hash('sha256', content), sha512: hash('sha512', content) };
  return {
    ...{ buildId, baseName: 'bookworm-1', baseSha256: '', startedAt: '', finishedAt: '' },
    basis: {
      state: outsideState,
      releases: [],
    },
    madeOf: { releases: [], packages: [], removed: [] },
    content: {
      before: {
        ...{ ...before, series: 'bookworm', architecture: 'amd64', aptVersion: '2.6.1' },
        ...{ caCertificates: true, aptTransportHttps: false },
      },
      installed: {
        ...{ packages: [], listed: [] },
        plan: { install: [], remove: [], downloads: [], instead: new Map([['a', 'b']]) },
      },
      ...{ repositories: null, licences: new Map(), packages: [], removed: [], warnings: [] },
      touched: { isComplete: true, files: [] },
      by: { guest: 'vm', accelerator: 'tcg', kernel: '6.1', emulator: '7.2' },
    },
    files: [
      {
        ...{ role: 'image', name: 'bookworm-1.qcow2', mediaType: 'application/octet-stream' },
        ...{ sizeBytes: content.length, checksums },
      },
    ],
  };
}

/** A cache in a folder of its own, with a way to put builds into it. */
async function openHouse(maximumBytes: number) {
  const folder = await temporaryFolder();
  const cacheDirectory = join(folder.path, 'cache');
  await mkdir(cacheDirectory);
  const finished = await openFinishedBuilds(cacheDirectory, maximumBytes);
  let count = 0;
  return {
    ...{ finished, cacheDirectory, folder },
    async keep(at: string, content: string, buildId?: string) {
      count += 1;
      const work = join(folder.path, `work-${count}`);
      await mkdir(work);
      await writeFile(join(work, 'image'), content);
      await finished.keep(at, buildOf(content, buildId), [join(work, 'image')], work);
      assert.equal(await readdir(work), [], 'the files have moved');
    },
    async contentAt(at: string): Promise<string | null> {
      const build = await finished.find(at);
      const [image] = build?.files ?? [];
      count += 1;
      const target = join(folder.path, `taken-${count}`);
      if (image === undefined || !(await finished.take(image, target, { form: 'copy', basePath: '', signal })))
        return null;
      return await readFile(target, 'utf8');
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

test('a build is found by its key alone, with all that its documents need', async () => {
  await using house = await openHouse(1_000_000);
  await house.keep(key('a'), 'content');
  const again = await openFinishedBuilds(house.cacheDirectory, 1_000_000);
  assert.equal(await again.find(key('a')), buildOf('content'));
  assert.is(await again.find(key('b')), null);
  assert.is(await house.contentAt(key('a')), 'content');
});

test('builds that keep the same request at the same time leave one of them, whole', async () => {
  await using house = await openHouse(1_000_000);
  const contents = ['one', 'two', 'three', 'four'];
  await Promise.all(contents.map((content) => house.keep(key('a'), content)));
  const found = await house.finished.find(key('a'));
  assert.is(await house.contentAt(key('a')), found?.buildId ?? '');
});

test('the least recently used images go first, and the limit holds', async () => {
  const record = 4_000;
  await using house = await openHouse(3 * record);
  for (const letter of ['a', 'b', 'c', 'd', 'e']) {
    await house.keep(key(letter), letter.repeat(record));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const blobs = join(house.cacheDirectory, 'finished', 'blobs');
  const sizes = await Promise.all(
    (await readdir(blobs)).map(async (name) => (await readFile(join(blobs, name))).length),
  );
  assert.ok(sizes.reduce((sum, size) => sum + size, 0) <= 3 * record);
  assert.is(await house.contentAt(key('a')), null);
  assert.is(await house.contentAt(key('e')), 'e'.repeat(record));
});

test('an image that a worker was killed while keeping is not found, nor one whose record is damaged', async () => {
  await using house = await openHouse(1_000_000);
  await house.keep(key('a'), 'content');
  const finished = join(house.cacheDirectory, 'finished');
  // A killed worker leaves a file without a name, or one that no record names.
  await writeFile(join(finished, 'parts', 'half'), 'con');
  await writeFile(join(finished, 'blobs', hash('sha256', 'whole')), 'whole');
  assert.is(await house.contentAt(key('b')), null);
  for (const name of await readdir(join(finished, 'blobs'))) {
    if (name !== hash('sha256', 'content')) await writeFile(join(finished, 'blobs', name), 'damage');
  }
  assert.is(await house.finished.find(key('a')), null);
});

test('a file that a killed worker has left in the middle goes with the next image that is kept, a quarter of an hour later', async () => {
  await using house = await openHouse(1_000_000);
  const parts = join(house.cacheDirectory, 'finished', 'parts');
  await writeFile(join(parts, 'old'), 'half');
  const then = Date.now() / 1000 - 900;
  await utimes(join(parts, 'old'), then, then);
  await writeFile(join(parts, 'new'), 'half');
  await house.keep(key('a'), 'content');
  assert.equal(await readdir(parts), ['new']);
});

test('a build that needs room gets that of finished images first', async () => {
  await using house = await openHouse(1_000_000);
  await house.keep(key('a'), 'content');
  assert.ok((await makeRoomInCaches(house.cacheDirectory, 1)) > 0);
  await makeRoomInCaches(house.cacheDirectory, 1_000_000);
  assert.is(await house.finished.find(key('a')), null);
});

test('a build that needs room gets that of saved states of vms too', async () => {
  await using house = await openHouse(1_000_000);
  const states = join(house.cacheDirectory, 'vm/states');
  const cache = await openCache(states, 1_000_000);
  const part = cache.partPath();
  await writeFile(part, 'state');
  const file = { url: 'state', sha256: hash('sha256', 'state'), sizeBytes: 5, etag: null, lastModified: null };
  await cache.add(part, { ...file, origin: '', secure: true, validatedAtMs: 0 });
  assert.is(await makeRoomInCaches(house.cacheDirectory, 1), 5);
  assert.equal(await readdir(join(states, 'blobs')), []);
});

test('a file that is taken is no link to the cache, and one for an upload is', async () => {
  await using house = await openHouse(1_000_000);
  await house.keep(key('a'), 'content');
  const [image] = (await house.finished.find(key('a')))?.files ?? [];
  assert.ok(image);
  const copy = join(house.folder.path, 'copy');
  assert.ok(await house.finished.take(image, copy, { form: 'copy', basePath: '', signal }));
  await writeFile(copy, 'changed');
  assert.is(await house.contentAt(key('a')), 'content');
  const link = join(house.folder.path, 'link');
  assert.ok(await house.finished.take(image, link, { form: 'link', basePath: '', signal }));
  await rm(link);
  assert.is(await house.contentAt(key('a')), 'content');
});

test('an image is kept without the bytes of its base, and put together as its own file', async () => {
  await using house = await openHouse(1_000_000);
  const content = 'head, bytes of the base, tail';
  const [basePath, imagePath, restPath] = ['base', 'image', 'rest'].map((name) => join(house.folder.path, name));
  assert.ok(basePath && imagePath && restPath);
  await writeFile(basePath, 'all bytes of the base, and more');
  await writeFile(imagePath, content);
  const build = buildOf(content);
  const shared = [{ offsetBytes: 6, sizeBytes: 17, baseBytes: 4 }];
  const files = build.files.map((file) => ({ ...file }));
  for (const file of files) Object.assign(file, { rest: await writeRest(imagePath, shared, restPath, signal) });
  assert.is(await readFile(restPath, 'utf8'), 'head, , tail');
  await house.finished.keep(key('a'), { ...build, files }, [restPath], house.folder.path);
  const [image] = (await house.finished.find(key('a')))?.files ?? [];
  assert.ok(image);
  // A link would be one to the rest.
  for (const form of ['copy', 'link'] as const) {
    const target = join(house.folder.path, form);
    assert.ok(await house.finished.take(image, target, { form, basePath, signal }));
    assert.is(await readFile(target, 'utf8'), content);
    await writeFile(target, 'changed');
  }
  const target = join(house.folder.path, 'again');
  assert.ok(await house.finished.take(image, target, { form: 'copy', basePath, signal }));
  assert.is(await readFile(target, 'utf8'), content);
  const left = await readdir(house.folder.path);
  assert.equal(
    left.filter((name) => name.endsWith('.shared')),
    [],
  );
});

test.run();
