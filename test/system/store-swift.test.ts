import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import got from 'got';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type OpenStack, startOpenStack } from '../../lab/servers/openstack/openstack.ts';
import { projects } from '../../lab/servers/openstack/template.ts';
import { finishedBuild, MiB, never, quiet } from '../conformance/finished-build.ts';
import { storeConformance } from '../conformance/store.ts';
import { quickRetry } from '../conformance/store-inputs.ts';
import { failure } from '../failure.ts';
import { type Client, connect, storeInCloud } from './store-cloud.ts';

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

storeConformance(() => {
  const { environment, ...rest } = storeInCloud(cloud, client);
  const { name, password } = projects.reader;
  return {
    ...{ ...rest, environment: { ...environment, IMAGEBUILDER_STORE: 'swift' } },
    everything: async () => (await client.container.list('', quiet)).map(({ name }) => name),
    withoutRights: { OS_USERNAME: name, OS_PASSWORD: password, OS_PROJECT_NAME: name },
    ...{ imageBytes: segmented.bytes, middleBytes: 20 * MiB },
  };
});

test('a small image is one object with metadata, in a container that is made for it', async () => {
  const build = await finishedBuild(directory, { ticketId: 'Tïcket 77' });
  const seen: number[] = [];
  const [stored] = await client.swiftStore.put(...build.given, {
    signal: never,
    onProgress: (current) => seen.push(current),
  });
  assert.is(stored.store, 'swift');
  assert.is(stored.id, `${build.buildId}/${build.image.name}`);
  assert.ok(stored.location.startsWith(`${cloud.swift.url}/AUTH_`));
  assert.ok(stored.location.endsWith(`/imagebuilder/${stored.id}`));
  assert.is(stored.region, cloud.region);
  assert.equal(stored.checksums, build.image.checksums);
  assert.is(seen.at(-1), build.image.sizeBytes);
  assert.equal(await namesOf(build.buildId), [stored.id]);

  const shown = await cloud.command(['object', 'show', '-f', 'json', 'imagebuilder', stored.id]);
  const { properties } = JSON.parse(shown.stdout);
  assert.is(properties['Imagebuilder-Build-Id'], build.buildId);
  assert.is(decodeURIComponent(properties['Imagebuilder-Ticket-Id']), 'Tïcket 77');
  assert.is(properties['Imagebuilder-Sha512'], build.image.checksums.sha512);
});

test('an image beyond the largest object goes up in segments and comes back whole', async () => {
  const build = await finishedBuild(directory, segmented);
  const [stored] = await client.swiftStore.put(...build.given, quiet);
  assert.is((await namesOf(build.buildId)).length, 1 + Math.ceil(build.image.sizeBytes / maximumFileBytes));
  const saved = join(directory, 'saved');
  await cloud.command(['object', 'save', '--file', saved, 'imagebuilder', stored.id]);
  assert.ok((await readFile(saved)).equals(await readFile(build.image.path)));
});

test('a download URL gives the image to anybody who has it, until it runs out, and nothing else', async () => {
  const build = await finishedBuild(directory, segmented);
  const [{ download_url: url = '', download_url_expires: expires = '' }] = await client.swiftStore.put(
    ...build.given,
    quiet,
  );
  const answer = await got(url, { responseType: 'buffer' });
  assert.ok(Buffer.from(answer.body).equals(await readFile(build.image.path)));
  assert.match(answer.headers['content-disposition'] ?? '', build.image.name);
  assert.ok(Date.parse(expires) > Date.now());
  for (const changed of [
    url.replace(build.image.name, 'other'),
    url.replace(/temp_url_expires=\d+/, 'temp_url_expires=9999999999'),
  ]) {
    assert.is((await got(changed, { throwHttpErrors: false })).statusCode, 401);
  }
  const expired = await connect(cloud, { settings: { ...settings, swiftTemporaryUrlMs: -1000 } });
  const [old] = (await expired.swiftStore.find(build.buildId, quiet)) ?? [];
  assert.is((await got(old?.download_url ?? '', { throwHttpErrors: false })).statusCode, 401);
});

test('a download URL is signed with a digest that the cluster takes', async () => {
  const build = await finishedBuild(directory);
  for (const digest of ['sha1', 'sha512']) {
    await cloud.swift.setTemporaryUrlDigests([digest]);
    const [{ download_url: url = '' }] = await client.swiftStore.put(...build.given, quiet);
    assert.is((await got(url)).rawBody.length, build.image.sizeBytes, digest);
  }
  await cloud.swift.setTemporaryUrlDigests(['sha256', 'sha512']);
});

test('an image that lacks a segment is not taken for whole, and is put again', async () => {
  const build = await finishedBuild(directory, segmented);
  await client.swiftStore.put(...build.given, quiet);
  const segment = (await namesOf(build.buildId)).find((name) => name.endsWith('00002')) ?? '';
  await client.container.remove(segment, quiet);
  assert.is(await client.swiftStore.find(build.buildId, quiet), null);
  await client.swiftStore.put(...build.given, quiet);
  assert.ok(await client.swiftStore.find(build.buildId, quiet));
  assert.is((await namesOf(build.buildId)).length, 1 + Math.ceil(build.image.sizeBytes / maximumFileBytes));
});

test('leftovers of a dead worker are removed by the next put, and by discard; a whole image stays', async () => {
  const build = await finishedBuild(directory, segmented);
  const leave = async () => {
    const body = { path: build.image.path, startByte: 0, bytes: 1000 };
    await client.container.upload(`.segments/${build.buildId}/dead/00000`, body, {}, quiet);
    await client.container.upload(`${build.buildId}/half`, body, {}, quiet);
  };
  await leave();
  await client.swiftStore.discard(build.buildId);
  assert.equal(await namesOf(build.buildId), []);
  await leave();
  await client.swiftStore.put(...build.given, quiet);
  const names = await namesOf(build.buildId);
  assert.not.ok(names.some((name) => /dead|half/.test(name)));
  await leave();
  await client.swiftStore.discard(build.buildId);
  assert.equal(await namesOf(build.buildId), names);
});

test('a cut costs the segments that were on their way; those that were there are kept', async () => {
  const build = await finishedBuild(directory, segmented);
  let restarted: Promise<void> | undefined;
  let largest = 0;
  let smallestAfter = Number.POSITIVE_INFINITY;
  const restart = async () => {
    await cloud.swift.proxy.stop({ kill: true });
    await cloud.swift.proxy.start();
  };
  const { swiftStore, lines } = await connect(cloud, {
    settings: { ...settings, stallTimeoutMs: 5_000 },
    // On a busy machine the proxy takes its time to start.
    retry: { ...quickRetry, maximumDelayMs: 8_000 },
  });
  const onProgress = (current: number) => {
    if (restarted === undefined) largest = Math.max(largest, current);
    else smallestAfter = Math.min(smallestAfter, current);
    // Five of the six segments have been started by now, so one at least is done.
    if (current > 36 * MiB) restarted ??= restart();
  };
  await swiftStore.put(...build.given, { signal: never, onProgress });
  await restarted;
  assert.ok(restarted !== undefined);
  const again = lines.filter((line) => line.includes('starts anew'));
  assert.ok(again.length >= 1, 'the cut was noticed');
  assert.ok(smallestAfter > 0, 'never back to the beginning');
  assert.ok(await swiftStore.find(build.buildId, quiet));
});

test('an object server that is away for a while delays an upload', async () => {
  const build = await finishedBuild(directory, segmented);
  await cloud.swift.object.stop();
  const back = sleep(4_000).then(() => cloud.swift.object.start());
  await client.swiftStore.put(...build.given, quiet);
  await back;
  assert.ok(await client.swiftStore.find(build.buildId, quiet));
});

test('an object server that stays away fails the upload with what Swift says', async () => {
  const build = await finishedBuild(directory, segmented);
  const { swiftStore } = await connect(cloud, { retry: { ...quickRetry, patienceMs: 1_000 } });
  await cloud.swift.object.stop();
  const error = await failure(swiftStore.put(...build.given, quiet));
  await cloud.swift.object.start();
  assert.is(error.code, 'store.failed');
  assert.match(error.message, 'Swift at');
  assert.match(error.message, 'answered 503');
  assert.equal(await namesOf(build.buildId), []);
});

test('a container without room refuses the image, which is tried only once and leaves nothing', async () => {
  await cloud.command(['container', 'create', 'narrow']);
  await cloud.command(['container', 'set', '--property', 'quota-bytes=5000000', 'narrow']);
  const build = await finishedBuild(directory, segmented);
  const narrow = await connect(cloud, { settings: { swiftContainer: 'narrow' } });
  const error = await failure(narrow.swiftStore.put(...build.given, quiet));
  assert.is(error.code, 'store.refused');
  assert.match(error.message, 'answered 413');
  assert.equal(narrow.lines, []);
  assert.equal(await narrow.container.list('', quiet), []);
});

test('an image that even segments cannot hold is refused before anything is sent', async () => {
  const { image, given } = await finishedBuild(directory);
  const tooLarge = [{ ...image, sizeBytes: 9000 * MiB }] as const;
  const error = await failure(client.swiftStore.put(tooLarge, given[1], quiet));
  assert.is(error.code, 'store.refused');
  assert.match(error.message, 'Swift takes at most');
});

test('Keystone away for ten seconds delays an upload and no more', async () => {
  const build = await finishedBuild(directory, segmented);
  await client.swiftStore.find(build.buildId, quiet);
  await cloud.keystone.stop();
  const back = sleep(10_000).then(() => cloud.keystone.start());
  await client.swiftStore.put(...build.given, quiet);
  await back;
  assert.ok(await client.swiftStore.find(build.buildId, quiet));
});

test('nothing of all this wrote a password, a key or a token into the log', () => {
  for (const secret of [cloud.environment.OS_PASSWORD ?? '', settings.swiftTemporaryUrlKey, 'gAAAA']) {
    assert.not.match(client.lines.join(''), secret);
  }
});

test.run();
