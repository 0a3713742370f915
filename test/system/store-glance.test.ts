import { mkdtemp, readdir, readFile, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type OpenStack, startOpenStack } from '../../lab/servers/openstack/openstack.ts';
import { projects } from '../../lab/servers/openstack/template.ts';
import { failure } from '../failure.ts';
import {
  afterBytes,
  allText,
  type Client,
  connect,
  finishedImage,
  MiB,
  never,
  quickRetry,
  quiet,
} from './store-cloud.ts';

/** Images in a real Glance, with a real Keystone before it. */

let directory: string;
let cloud: OpenStack;
let client: Client;
/** More than the buffers of a connection hold, so that an upload can be met in its middle. */
const large = { bytes: 64 * MiB };
const middle = 24 * MiB;

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'store-glance-'));
  cloud = await startOpenStack({ services: ['glance'] });
  client = await connect(cloud);
});
test.after(async () => {
  await cloud[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const statuses = async (buildId: string) => (await client.glance.list(buildId, quiet)).map((image) => image.status);
const filesOfGlance = () => readdir(join(cloud.directory, 'glance/images'));

test("an image is active in Glance, with what consumers look for, and Debian's client reads it back whole", async () => {
  const image = await finishedImage(directory, { ticketId: 'Tïcket 77' });
  const { glanceStore } = await connect(cloud, { settings: { glanceProperties: { hw_disk_bus: 'virtio' } } });
  const seen: number[] = [];
  const stored = await glanceStore.put(image, { signal: never, onProgress: (current) => seen.push(current) });

  assert.is(stored.store, 'glance');
  assert.is(stored.location, `${cloud.glanceUrl}/v2/images/${stored.id}`);
  assert.is(stored.region, cloud.region);
  assert.equal(stored.checksums, image.checksums);
  assert.is(stored.size, image.sizeBytes);
  assert.is(seen.at(-1), image.sizeBytes);

  const shown = JSON.parse((await cloud.command(['image', 'show', '-f', 'json', stored.id])).stdout);
  assert.is(shown.status, 'active');
  assert.is(shown.visibility, 'private');
  assert.is(shown.disk_format, 'qcow2');
  assert.is(shown.container_format, 'bare');
  assert.equal(shown.tags, ['imagebuilder']);
  const expected = {
    os_distro: 'ubuntu',
    os_version: '24.04',
    architecture: 'x86_64',
    hw_disk_bus: 'virtio',
    ticket_id: 'Tïcket 77',
    imagebuilder_build_id: image.buildId,
    imagebuilder_series: 'noble',
    imagebuilder_base_sha256: image.baseImageSha256,
  };
  for (const [name, value] of Object.entries(expected)) assert.is(shown.properties[name], value, name);

  const saved = join(directory, 'saved');
  await cloud.command(['image', 'save', '--file', saved, stored.id]);
  assert.ok((await readFile(saved)).equals(await readFile(image.path)));
});

test('a whole image that is there is the result for every worker', async () => {
  const image = await finishedImage(directory);
  assert.is(await client.glanceStore.find(image.buildId, quiet), null);
  const stored = await client.glanceStore.put(image, quiet);
  const another = await connect(cloud);
  assert.equal(await another.glanceStore.find(image.buildId, quiet), stored);
  assert.equal(await another.glanceStore.put(image, quiet), stored);
  assert.equal(await statuses(image.buildId), ['active']);
});

test('two uploads of one build at once end in one image', async () => {
  const image = await finishedImage(directory);
  const other = await connect(cloud);
  const [one, two] = await Promise.all([client.glanceStore.put(image, quiet), other.glanceStore.put(image, quiet)]);
  // Either may have found its own whole image first; what stays is the same for all.
  const [kept, ...more] = await client.glance.list(image.buildId, quiet);
  assert.is(more.length, 0);
  assert.ok(kept !== undefined && [one.id, two.id].includes(kept.id));
  assert.is((await client.glanceStore.find(image.buildId, quiet))?.id, kept?.id);
});

test('an image with this build id that is empty, garbage or of another project is not taken for it', async () => {
  const image = await finishedImage(directory);
  const other = await connect(cloud, {
    environment: {
      OS_USERNAME: projects.other.name,
      OS_PASSWORD: projects.other.password,
      OS_PROJECT_NAME: projects.other.name,
    },
  });
  const record = {
    name: 'forged',
    disk_format: 'qcow2',
    container_format: 'bare',
    imagebuilder_build_id: image.buildId,
    imagebuilder_size: String(image.sizeBytes),
    imagebuilder_sha256: image.checksums.sha256,
    imagebuilder_sha512: image.checksums.sha512,
  };
  const forged = await other.glance.create({ ...record, visibility: 'community' }, quiet);
  await other.glance.upload(forged.id, { path: image.path, startByte: 0, bytes: image.sizeBytes }, quiet);
  const short = await client.glance.create(record, quiet);
  await client.glance.upload(short.id, { path: image.path, startByte: 0, bytes: 1000 }, quiet);
  const empty = await client.glance.create(record, quiet);
  await client.glance.upload(empty.id, { path: image.path, startByte: 0, bytes: 0 }, quiet);
  assert.equal(await statuses(image.buildId), ['active', 'active'], 'Glance itself takes them');

  assert.is(await client.glanceStore.find(image.buildId, quiet), null);
  const stored = await client.glanceStore.put(image, quiet);
  assert.not.ok([forged.id, short.id, empty.id].includes(stored.id));
  assert.equal(await statuses(image.buildId), ['active']);
  assert.ok(await other.glance.get(forged.id, quiet), 'what is not ours is left alone');
});

test('discard removes what is unfinished, and nothing else', async () => {
  const image = await finishedImage(directory);
  await client.glance.create({ name: 'queued', imagebuilder_build_id: image.buildId }, quiet);
  await client.glanceStore.discard(image.buildId);
  assert.equal(await statuses(image.buildId), []);
  await client.glanceStore.put(image, quiet);
  await client.glanceStore.discard(image.buildId);
  assert.equal(await statuses(image.buildId), ['active']);
});

test('a worker killed in the middle of an upload leaves what the next one removes', async () => {
  const image = await finishedImage(directory, large);
  const program = join(import.meta.dirname, 'store-glance-client.ts');
  const dead = await execa(process.execPath, [program, JSON.stringify(image), JSON.stringify(cloud.environment)], {
    reject: false,
  });
  assert.is(dead.signal, 'SIGKILL');
  const [left] = await statuses(image.buildId);
  assert.ok(left === 'queued' || left === 'saving', `${left}`);
  await client.glanceStore.put(image, quiet);
  assert.equal(await statuses(image.buildId), ['active']);
});

test('a file that becomes shorter in the middle of its upload leaves no image', async () => {
  const image = await finishedImage(directory, large);
  const shorten = afterBytes(middle, () => void truncate(image.path, 30 * MiB));
  try {
    await client.glanceStore.put(image, { signal: never, onProgress: shorten });
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, 'has become shorter');
  }
  assert.equal(await statuses(image.buildId), []);
});

test('a cancel in the middle of an upload ends it with its reason, and leaves no image and no file', async () => {
  const before = (await filesOfGlance()).length;
  const image = await finishedImage(directory, large);
  const cancelled = new AbortController();
  const reason = new Error('cancelled by a test');
  try {
    await client.glanceStore.put(image, {
      signal: cancelled.signal,
      onProgress: afterBytes(middle, () => cancelled.abort(reason)),
    });
    assert.unreachable();
  } catch (error) {
    assert.is(error, reason);
  }
  assert.equal(await statuses(image.buildId), []);
  assert.is((await filesOfGlance()).length, before);
});

for (const kill of [false, true]) {
  test(`Glance stopped by ${kill ? 'SIGKILL' : 'SIGTERM'} in the middle of an upload gets the image once it is back`, async () => {
    const image = await finishedImage(directory, large);
    let restarted: Promise<void> | undefined;
    const restart = async () => {
      await cloud.glance.stop({ kill });
      await cloud.glance.start();
    };
    const onProgress = afterBytes(middle, () => {
      restarted = restart();
    });
    const stored = await client.glanceStore.put(image, { signal: never, onProgress });
    await restarted;
    assert.ok(restarted !== undefined);
    assert.equal(stored.checksums, image.checksums);
    assert.equal(await statuses(image.buildId), ['active'], 'what was stuck in saving is gone');
  });
}

test('an upload of which Glance takes no byte any more is broken off and starts anew', async () => {
  const image = await finishedImage(directory, large);
  const { glanceStore, lines } = await connect(cloud, { settings: { stallTimeoutMs: 1_500 } });
  let woken: Promise<void> | undefined;
  const onProgress = afterBytes(middle, () => {
    cloud.glance.pause();
    woken = sleep(4_000).then(() => cloud.glance.resume());
  });
  await glanceStore.put(image, { signal: never, onProgress });
  await woken;
  assert.match(lines.join(''), /took no byte for/);
  assert.equal(await statuses(image.buildId), ['active']);
});

test('an image deleted by somebody else in the middle of its upload is uploaded anew', async () => {
  const image = await finishedImage(directory, large);
  let removed: Promise<unknown> | undefined;
  const remove = async () => {
    for (const { id } of await client.glance.list(image.buildId, quiet)) await client.glance.remove(id, quiet);
  };
  const { glanceStore } = await connect(cloud);
  const onProgress = afterBytes(middle, () => {
    cloud.glance.pause();
    removed = sleep(100).then(() => {
      cloud.glance.resume();
      return remove();
    });
  });
  const stored = await glanceStore.put(image, { signal: never, onProgress });
  await removed;
  assert.ok(stored.id);
  assert.equal(await statuses(image.buildId), ['active']);
});

test('an image beyond a limit is refused, tried only once, and leaves nothing', async () => {
  const before = (await filesOfGlance()).length;
  for (const limits of [{ imageSizeCapBytes: 4 * MiB }, { storageQuota: '1MB' }]) {
    await cloud.setGlanceLimits(limits);
    const image = await finishedImage(directory, large);
    const { glanceStore, lines } = await connect(cloud);
    const error = await failure(glanceStore.put(image, quiet));
    assert.is(error.code, 'store.refused');
    assert.match(error.message, 'answered 413');
    assert.equal(lines, []);
    assert.equal(await statuses(image.buildId), []);
  }
  await cloud.setGlanceLimits({});
  assert.is((await filesOfGlance()).length, before);
});

test('where a quota leaves no room for all properties an image has those that identify it', async () => {
  await cloud.setGlanceLimits({ propertyQuota: 5 });
  const image = await finishedImage(directory);
  const stored = await client.glanceStore.put(image, quiet);
  await cloud.setGlanceLimits({});
  assert.is((await client.glanceStore.find(image.buildId, quiet))?.id, stored.id);
});

test("an image that is to be public is refused to a member, with Glance's reason", async () => {
  const { glanceStore } = await connect(cloud, { settings: { glanceVisibility: 'public' } });
  const error = await failure(glanceStore.put(await finishedImage(directory), quiet));
  assert.is(error.code, 'store.refused');
  assert.match(error.message, /403.*publicize_image/);
});

test('a community image is found again', async () => {
  const image = await finishedImage(directory);
  const { glanceStore } = await connect(cloud, { settings: { glanceVisibility: 'community' } });
  const stored = await glanceStore.put(image, quiet);
  assert.equal(await glanceStore.find(image.buildId, quiet), stored);
});

test('a token that expires in the middle of an upload is renewed and the image kept', async () => {
  await cloud.setTokenLifetime(6);
  const image = await finishedImage(directory, large);
  const { glanceStore, lines } = await connect(cloud);
  let woken: Promise<void> | undefined;
  const onProgress = afterBytes(middle, () => {
    cloud.glance.pause();
    woken = sleep(7_000).then(() => cloud.glance.resume());
  });
  await glanceStore.put(image, { signal: never, onProgress });
  await woken;
  await cloud.setTokenLifetime(3600);
  assert.not.match(lines.join(''), 'starts anew');
  assert.equal(await statuses(image.buildId), ['active']);
});

test('Keystone away for ten seconds delays an upload and no more', async () => {
  const image = await finishedImage(directory);
  const { glanceStore } = await connect(cloud);
  // With a token in hand: Glance answers 401 while it cannot ask Keystone about it.
  await glanceStore.find(image.buildId, quiet);
  await cloud.keystone.stop();
  const back = sleep(10_000).then(() => cloud.keystone.start());
  const stored = await glanceStore.put(image, quiet);
  await back;
  assert.equal(stored.checksums, image.checksums);
});

test('Glance that stays away is an upstream failure that may pass', async () => {
  await cloud.glance.stop();
  const { glanceStore } = await connect(cloud, { retry: { ...quickRetry, patienceMs: 1_000 } });
  const error = await failure(glanceStore.put(await finishedImage(directory), quiet));
  await cloud.glance.start();
  assert.is(error.code, 'store.failed');
  assert.ok(error.retryable);
  assert.match(error.message, 'Glance at');
  assert.match(error.message, 'the connection was refused');
  assert.not.match(allText(error), projects.builder.password);
  assert.not.match(allText(error), 'gAAAA', 'no token');
});

test('nothing of all this wrote a password or a token into the log', () => {
  assert.not.match(client.lines.join(''), projects.builder.password);
  assert.not.match(client.lines.join(''), 'gAAAA');
});

test.run();
