import { mkdir, open, readdir, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openCache } from '#lib/fetch/cache.ts';
import { addOwnFile } from '#lib/fetch/own-file.ts';
import {
  beginUncompressed,
  forgetUncompressed,
  imagesFolder,
  limitUncompressedImages,
  takeUncompressed,
  uncompressedFolder,
} from '#lib/fetch/uncompressed-images.ts';
import { makeRoomInCaches } from '#lib/pipeline/make-room.ts';
import { temporaryFolder } from './with-server.ts';

const one = 'a'.repeat(64);
const two = 'b'.repeat(64);
const dataBytes = 64 * 1024;
/** Much more than the limit of the cache: a copy counts by what it takes on the disk. */
const diskBytes = 1024 ** 3;

type House = Awaited<ReturnType<typeof openHouse>>;

/** A cache with a limit for base images and copies, and work directories. */
async function openHouse(cacheBytes: number) {
  const folder = await temporaryFolder();
  const cacheDirectory = join(folder.path, 'cache');
  const workDirectory = join(folder.path, 'work');
  for (const path of [cacheDirectory, workDirectory]) await mkdir(path);
  const options = { cacheDirectory, cacheBytes };
  const begin = (sha256: string, mayReplace = true, hasRoom = async () => true) =>
    beginUncompressed({ ...options, sha256, storedBytes: dataBytes, mayReplace, workDirectory, hasRoom });
  const target = join(workDirectory, 'copy');
  return {
    ...{ options, begin, target, copies: join(cacheDirectory, uncompressedFolder) },
    /** Makes a copy; false where none is made. */
    async make(sha256: string, mayReplace?: boolean): Promise<boolean> {
      await using copy = await begin(sha256, mayReplace);
      if (copy === null) return false;
      await writeFile(copy.path, Buffer.alloc(dataBytes, 1), { mode: 0o600 });
      await truncate(copy.path, diskBytes);
      await copy.keep();
      return true;
    },
    /** Whether a copy is there; gives it back. */
    async has(sha256: string): Promise<boolean> {
      const taken = await takeUncompressed(sha256, target, options);
      await rm(target, { force: true });
      return taken;
    },
    async addBase(sizeBytes: number): Promise<void> {
      const cache = await openCache(join(cacheDirectory, imagesFolder), cacheBytes);
      const part = cache.partPath();
      await writeFile(part, Buffer.alloc(sizeBytes, 1));
      await addOwnFile(cache, part, { url: 'http://127.0.0.1/base', sizeBytes, sha256: 'c'.repeat(64) });
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

test('a copy is found by its base image, counts without its holes, and only its owner enters the cache', async () => {
  await using house = await openHouse(2 * dataBytes);
  assert.is(await house.make(one), true);
  assert.is(await takeUncompressed(one, house.target, house.options), true);
  const { size, mode } = await stat(house.target);
  assert.is(size, diskBytes);
  assert.is(mode & 0o222, 0);
  assert.is((await stat(house.copies)).mode & 0o077, 0);
  assert.is(await house.has(two), false);
  await forgetUncompressed(one, house.options);
  assert.is(await house.has(one), false);
});

test('a copy that was cut short or written to is no copy', async () => {
  await using house = await openHouse(4 * dataBytes);
  await house.make(one);
  await takeUncompressed(one, house.target, house.options);
  await truncate(house.target, diskBytes - 512);
  await rm(house.target);
  assert.is(await house.has(one), false);
  await house.make(two);
  await takeUncompressed(two, house.target, house.options);
  await writeFile(house.target, 'x', { flag: 'r+' });
  assert.is(await house.has(two), false);
});

test('a copy that was not finished is none, and the next one replaces what it has left', async () => {
  await using house = await openHouse(4 * dataBytes);
  const parts = join(house.copies, 'parts');
  {
    await using copy = await house.begin(one);
    await writeFile(copy?.path ?? '', 'half');
    assert.is(await house.begin(two), null, 'one is made at a time');
    assert.is(await house.has(one), false);
  }
  assert.equal(await readdir(parts), []);
  await leave(house);
  assert.is(await house.make(two), true);
  assert.equal(await readdir(parts), []);
});

/** A part of a copy, as a killed worker leaves it. Returns its path. */
async function leave(house: House): Promise<string> {
  await using copy = await house.begin(one);
  const path = copy?.path ?? '';
  await copy?.[Symbol.asyncDispose]();
  await writeFile(path, Buffer.alloc(dataBytes, 1));
  return path;
}

test('where the disk has no room no copy is begun, and whatever a killed worker has left is gone before that is asked', async () => {
  await using house = await openHouse(4 * dataBytes);
  const path = await leave(house);
  const hasRoom = async () => {
    assert.is(await stat(path).catch(() => null), null);
    return false;
  };
  assert.is(await house.begin(one, true, hasRoom), null);
  assert.is(await house.make(one), true, 'the lock is free');
});

test('where a build needs room, the copy that is being written goes first, and is none', async () => {
  await using house = await openHouse(4 * dataBytes);
  await house.make(two);
  {
    await using copy = await house.begin(one);
    await writeFile(copy?.path ?? '', Buffer.alloc(dataBytes, 1));
    await using writer = await open(copy?.path ?? '', 'r+');
    assert.is(await makeRoomInCaches(house.options.cacheDirectory, dataBytes), dataBytes);
    assert.is((await writer.stat()).blocks, 0, 'though its writer has it open');
    assert.instance(await copy?.keep().catch((error: unknown) => error), Error);
  }
  assert.is(await house.has(one), false);
  assert.is(await house.has(two), true);
  await leave(house);
  assert.is(await makeRoomInCaches(house.options.cacheDirectory, dataBytes), dataBytes);
  assert.is(await house.has(two), true);
});

test('copies get the room that base images leave, the least recently used go first', async () => {
  await using house = await openHouse(3 * dataBytes);
  await house.make(one);
  const blobs = join(house.copies, 'blobs');
  for (const name of await readdir(blobs)) await utimes(join(blobs, name), 1, 1);
  await house.make(two);
  await house.addBase(2 * dataBytes);
  await limitUncompressedImages(house.options);
  assert.is(await house.has(one), false);
  assert.is(await house.has(two), true);
  assert.is(await house.make(one, false), false, 'an older base image pushes no copy out');
  assert.is(await house.make(one, true), true);
  assert.is(await house.has(two), false);
  await limitUncompressedImages({ ...house.options, cacheBytes: 2 * dataBytes });
  assert.is(await house.has(one), false, 'the limit is lower than before');
  await house.addBase(3 * dataBytes);
  assert.is(await house.make(two), false);
});

test('where a build needs room copies go before all else, but for those in use', async () => {
  await using house = await openHouse(8 * dataBytes);
  await house.addBase(dataBytes);
  await house.make(one);
  await house.make(two);
  await takeUncompressed(two, house.target, house.options);
  assert.is(await makeRoomInCaches(house.options.cacheDirectory, dataBytes), dataBytes);
  assert.equal((await readdir(join(house.options.cacheDirectory, imagesFolder, 'blobs'))).length, 1);
  await rm(house.target);
  assert.is(await house.has(one), false);
  assert.is(await house.has(two), true);
});

test.run();
