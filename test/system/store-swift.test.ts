import { mkdtemp, readFile, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import got from 'got';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type OpenStack, startOpenStack } from '../../lab/servers/openstack/openstack.ts';
import { failure } from '../failure.ts';
import { afterBytes, type Client, connect, finishedImage, MiB, never, quickRetry, quiet } from './store-cloud.ts';

/** Images in a real Swift whose largest object is 8 MiB, with a real Keystone before it. */

let directory: string;
let cloud: OpenStack;
let client: Client;
const maximumFileBytes = 8 * MiB;
const segmented = { bytes: 40 * MiB + 12_345 };
const settings = { swiftTemporaryUrlKey: 'a key for downloads' };

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'store-swift-'));
  cloud = await startOpenStack({ services: ['swift'], swift: { maximumFileBytes } });
  client = await connect(cloud, { settings });
});
test.after(async () => {
  await cloud[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

/** Names in the container that belong to the build. */
async function namesOf(buildId: string): Promise<string[]> {
  const prefixes = [`${buildId}/`, `.segments/${buildId}/`];
  const lists = await Promise.all(prefixes.map((prefix) => client.container.list(prefix, quiet)));
  return lists.flat().map(({ name }) => name);
}

test('a small image is one object with metadata, in a container that is made for it', async () => {
  const image = await finishedImage(directory, { ticketId: 'Tïcket 77' });
  const seen: number[] = [];
  const stored = await client.swiftStore.put(image, { signal: never, onProgress: (current) => seen.push(current) });
  assert.is(stored.store, 'swift');
  assert.is(stored.id, `${image.buildId}/${image.name}`);
  assert.ok(stored.location.startsWith(`${cloud.swift.url}/AUTH_`));
  assert.ok(stored.location.endsWith(`/imagebuilder/${stored.id}`));
  assert.is(stored.region, cloud.region);
  assert.equal(stored.checksums, image.checksums);
  assert.is(seen.at(-1), image.sizeBytes);
  assert.equal(await namesOf(image.buildId), [stored.id]);

  const shown = await cloud.command(['object', 'show', '-f', 'json', 'imagebuilder', stored.id]);
  const { properties } = JSON.parse(shown.stdout);
  assert.is(properties['Imagebuilder-Build-Id'], image.buildId);
  assert.is(decodeURIComponent(properties['Imagebuilder-Ticket-Id']), 'Tïcket 77');
  assert.is(properties['Imagebuilder-Sha512'], image.checksums.sha512);
});

test('an image beyond the largest object goes up in segments and comes back whole', async () => {
  const image = await finishedImage(directory, segmented);
  const stored = await client.swiftStore.put(image, quiet);
  assert.is((await namesOf(image.buildId)).length, 1 + Math.ceil(image.sizeBytes / maximumFileBytes));
  const saved = join(directory, 'saved');
  await cloud.command(['object', 'save', '--file', saved, 'imagebuilder', stored.id]);
  assert.ok((await readFile(saved)).equals(await readFile(image.path)));
});

test('a download URL gives the image to anybody who has it, until it runs out, and nothing else', async () => {
  const image = await finishedImage(directory, segmented);
  const { download_url: url = '', download_url_expires: expires = '' } = await client.swiftStore.put(image, quiet);
  const answer = await got(url, { responseType: 'buffer' });
  assert.ok(Buffer.from(answer.body).equals(await readFile(image.path)));
  assert.match(answer.headers['content-disposition'] ?? '', image.name);
  assert.ok(Date.parse(expires) > Date.now());
  for (const changed of [
    url.replace(image.name, 'other'),
    url.replace(/temp_url_expires=\d+/, 'temp_url_expires=9999999999'),
  ]) {
    assert.is((await got(changed, { throwHttpErrors: false })).statusCode, 401);
  }
  const expired = await connect(cloud, { settings: { ...settings, swiftTemporaryUrlMs: -1000 } });
  const old = await expired.swiftStore.find(image.buildId, quiet);
  assert.is((await got(old?.download_url ?? '', { throwHttpErrors: false })).statusCode, 401);
});

test('without a key there is no download URL', async () => {
  const plain = await connect(cloud);
  const stored = await plain.swiftStore.put(await finishedImage(directory), quiet);
  assert.is(stored.download_url, undefined);
});

test('a whole image that is there is the result for every worker', async () => {
  const image = await finishedImage(directory, segmented);
  assert.is(await client.swiftStore.find(image.buildId, quiet), null);
  await client.swiftStore.put(image, quiet);
  const names = await namesOf(image.buildId);
  const plain = await connect(cloud);
  const stored = await plain.swiftStore.find(image.buildId, quiet);
  assert.equal(await plain.swiftStore.put(image, quiet), stored);
  assert.equal(await namesOf(image.buildId), names);
});

test('an image that lacks a segment is not taken for whole, and is put again', async () => {
  const image = await finishedImage(directory, segmented);
  await client.swiftStore.put(image, quiet);
  const segment = (await namesOf(image.buildId)).find((name) => name.endsWith('00002')) ?? '';
  await client.container.remove(segment, quiet);
  assert.is(await client.swiftStore.find(image.buildId, quiet), null);
  await client.swiftStore.put(image, quiet);
  assert.ok(await client.swiftStore.find(image.buildId, quiet));
  assert.is((await namesOf(image.buildId)).length, 1 + Math.ceil(image.sizeBytes / maximumFileBytes));
});

test('leftovers of a dead worker are removed by the next put, and by discard; a whole image stays', async () => {
  const image = await finishedImage(directory, segmented);
  const leave = async () => {
    const body = { path: image.path, startByte: 0, bytes: 1000 };
    await client.container.upload(`.segments/${image.buildId}/dead/00000`, body, {}, quiet);
    await client.container.upload(`${image.buildId}/half`, body, {}, quiet);
  };
  await leave();
  await client.swiftStore.discard(image.buildId);
  assert.equal(await namesOf(image.buildId), []);
  await leave();
  await client.swiftStore.put(image, quiet);
  const names = await namesOf(image.buildId);
  assert.not.ok(names.some((name) => /dead|half/.test(name)));
  await leave();
  await client.swiftStore.discard(image.buildId);
  assert.equal(await namesOf(image.buildId), names);
});

test('a cut costs the segments that were on their way; those that were there are kept', async () => {
  const image = await finishedImage(directory, segmented);
  let restarted: Promise<void> | undefined;
  let largest = 0;
  let smallestAfter = Number.POSITIVE_INFINITY;
  const restart = async () => {
    await cloud.swift.proxy.stop({ kill: true });
    await cloud.swift.proxy.start();
  };
  const { swiftStore, lines } = await connect(cloud, { settings: { ...settings, stallTimeoutMs: 5_000 } });
  const onProgress = (current: number) => {
    if (restarted === undefined) largest = Math.max(largest, current);
    else smallestAfter = Math.min(smallestAfter, current);
    // Five of the six segments have been started by now, so one at least is done.
    if (current > 36 * MiB) restarted ??= restart();
  };
  await swiftStore.put(image, { signal: never, onProgress });
  await restarted;
  assert.ok(restarted !== undefined);
  const again = lines.filter((line) => line.includes('starts anew'));
  assert.ok(again.length >= 1, 'the cut was noticed');
  assert.ok(smallestAfter > 0, 'never back to the beginning');
  assert.ok(await swiftStore.find(image.buildId, quiet));
});

test('a cancel in the middle of an upload leaves no segment', async () => {
  const image = await finishedImage(directory, segmented);
  const cancelled = new AbortController();
  const reason = new Error('cancelled by a test');
  try {
    await client.swiftStore.put(image, {
      signal: cancelled.signal,
      onProgress: afterBytes(20 * MiB, () => cancelled.abort(reason)),
    });
    assert.unreachable();
  } catch (error) {
    assert.is(error, reason);
  }
  assert.equal(await namesOf(image.buildId), []);
});

test('a file that becomes shorter in the middle of its upload leaves no segment', async () => {
  const image = await finishedImage(directory, segmented);
  const shorten = afterBytes(2 * MiB, () => void truncate(image.path, 10 * MiB));
  try {
    await client.swiftStore.put(image, { signal: never, onProgress: shorten });
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, 'has become shorter');
  }
  assert.equal(await namesOf(image.buildId), []);
});

test('an object server that is away for a while delays an upload', async () => {
  const image = await finishedImage(directory, segmented);
  await cloud.swift.object.stop();
  const back = sleep(4_000).then(() => cloud.swift.object.start());
  await client.swiftStore.put(image, quiet);
  await back;
  assert.ok(await client.swiftStore.find(image.buildId, quiet));
});

test('an object server that stays away fails the upload with what Swift says', async () => {
  const image = await finishedImage(directory, segmented);
  const { swiftStore } = await connect(cloud, { retry: { ...quickRetry, patienceMs: 1_000 } });
  await cloud.swift.object.stop();
  const error = await failure(swiftStore.put(image, quiet));
  await cloud.swift.object.start();
  assert.is(error.code, 'store.failed');
  assert.match(error.message, 'Swift at');
  assert.match(error.message, 'answered 503');
  assert.equal(await namesOf(image.buildId), []);
});

test('a container without room refuses the image, which is tried only once and leaves nothing', async () => {
  await cloud.command(['container', 'create', 'narrow']);
  await cloud.command(['container', 'set', '--property', 'quota-bytes=5000000', 'narrow']);
  const image = await finishedImage(directory, segmented);
  const narrow = await connect(cloud, { settings: { swiftContainer: 'narrow' } });
  const error = await failure(narrow.swiftStore.put(image, quiet));
  assert.is(error.code, 'store.refused');
  assert.match(error.message, 'answered 413');
  assert.equal(narrow.lines, []);
  assert.equal(await narrow.container.list('', quiet), []);
});

test('an image that even segments cannot hold is refused before anything is sent', async () => {
  const image = await finishedImage(directory);
  const error = await failure(client.swiftStore.put({ ...image, sizeBytes: 9000 * MiB }, quiet));
  assert.is(error.code, 'store.refused');
  assert.match(error.message, 'Swift takes at most');
});

test('Keystone away for ten seconds delays an upload and no more', async () => {
  const image = await finishedImage(directory, segmented);
  await client.swiftStore.find(image.buildId, quiet);
  await cloud.keystone.stop();
  const back = sleep(10_000).then(() => cloud.keystone.start());
  await client.swiftStore.put(image, quiet);
  await back;
  assert.ok(await client.swiftStore.find(image.buildId, quiet));
});

test('nothing of all this wrote a password, a key or a token into the log', () => {
  for (const secret of [cloud.environment.OS_PASSWORD ?? '', settings.swiftTemporaryUrlKey, 'gAAAA']) {
    assert.not.match(client.lines.join(''), secret);
  }
});

test.run();
