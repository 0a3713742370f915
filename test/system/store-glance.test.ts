import { createHash, randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#lib/log.ts';
import { checkStores, glanceAtStores } from '#lib/store/check.ts';
import { chooseStores } from '#lib/store/choose.ts';
import { applyRetention } from '#lib/store/file/retention.ts';
import { type OpenStack, startOpenStack } from '../../lab/servers/openstack/openstack.ts';
import { projects } from '../../lab/servers/openstack/template.ts';
import { afterBytes, allText, finishedBuild, finishedLog, MiB, never, quiet } from '../conformance/finished-build.ts';
import { storeConformance } from '../conformance/store.ts';
import { quickRetry, storeInputs } from '../conformance/store-inputs.ts';
import { failure } from '../failure.ts';
import { variants, whenLong } from '../runner/long.ts';
import { type Client, connect, storeInCloud } from './store-cloud.ts';

/** Images in a real Glance, and the files beside them in a real Swift, with a real Keystone before both. */

const long = whenLong(test);
let directory: string;
let cloud: OpenStack;
let client: Client;
/** More than the buffers of a connection hold, so that an upload can be met in its middle. */
const large = { bytes: 64 * MiB };
const middle = 24 * MiB;

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'store-glance-'));
  cloud = await startOpenStack();
  client = await connect(cloud);
});
test.after(async () => {
  await cloud[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const statuses = async (buildId: string) => (await client.glance.list(buildId, quiet)).map((image) => image.status);
const filesOfGlance = () => readdir(join(cloud.directory, 'glance/images'));

/** Images, whatever their state, their files, and all objects. */
async function everything(): Promise<string[]> {
  const { text } = await client.session.send('image', { method: 'GET', path: '/v2/images?limit=1000', ...quiet });
  const { images } = JSON.parse(text) as { images: { id: string; status: string }[] };
  const objects = await client.container.list('', quiet);
  const records = images.map(({ id, status }) => `${id} ${status}`);
  return [...records, ...objects.map(({ name }) => name), ...(await filesOfGlance())].sort();
}

storeConformance(() => {
  const { environment, ...rest } = storeInCloud(cloud, client);
  return {
    ...{ ...rest, environment: { ...environment, IMAGEBUILDER_STORE: 'glance' }, everything },
    loseImage: ({ id }) => client.glance.remove(id, quiet),
    async putForeign(buildId) {
      await rest.putForeign(buildId);
      const sha256 = 'ab'.repeat(32);
      // Nova gives the snapshot of a machine the properties of its image, and not the tags.
      const properties = { imagebuilder_build_id: buildId, imagebuilder_size: '100', imagebuilder_sha256: sha256 };
      const formats = { disk_format: 'raw', container_format: 'bare' };
      const { id } = await client.glance.create({ name: 'snapshot', ...formats, ...properties }, quiet);
      await client.glance.upload(id, { path: import.meta.filename, startByte: 0, bytes: 100 }, quiet);
    },
    // Glance asks its administrator's rights of who makes an image public; its readers may make private ones.
    withoutRights: { IMAGEBUILDER_GLANCE_VISIBILITY: 'public' },
    ...{ imageBytes: large.bytes, middleBytes: middle },
  };
});

test('a raw image is one for Glance too', async () => {
  const build = await finishedBuild(directory);
  const [[image], origin] = build.given;
  const { glanceStore } = await connect(cloud);
  const [stored] = await glanceStore.put([{ ...image, format: 'raw' }], origin, quiet);
  const [found] = await client.glance.list(build.buildId, quiet);
  assert.equal([stored.format, found?.disk_format], ['raw', 'raw']);
  await glanceStore.remove(build.buildId, quiet);
});

test("an image is active in Glance, with what consumers look for, and Debian's client reads it back whole", async () => {
  const build = await finishedBuild(directory, { ticketId: 'Tïcket 77', others: { manifest: 'm', provenance: '{}' } });
  const { glanceStore } = await connect(cloud, { settings: { glanceProperties: { hw_disk_bus: 'virtio' } } });
  const seen: number[] = [];
  const [stored] = await glanceStore.put(...build.given, {
    signal: never,
    onProgress: (current) => seen.push(current),
  });

  assert.is(stored.store, 'glance');
  assert.is(stored.location, `${cloud.glanceUrl}/v2/images/${stored.id}`);
  assert.is(stored.region, cloud.region);
  assert.equal(stored.checksums, build.image.checksums);
  assert.is(stored.size, build.image.sizeBytes);
  const bytes = build.given[0].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  assert.is(seen.at(-1), bytes);

  const shown = JSON.parse((await cloud.command(['image', 'show', '-f', 'json', stored.id])).stdout);
  assert.equal([shown.status, shown.name], ['active', build.image.name]);
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
    imagebuilder_build_id: build.buildId,
    imagebuilder_series: 'noble',
    imagebuilder_base_sha256: build.given[1].baseImageSha256,
    imagebuilder_caller: 'lander',
    imagebuilder_others: '2',
    imagebuilder_artifacts: 'swift:imagebuilder',
    imagebuilder_manifest_sha256: sha256('m'),
    imagebuilder_provenance_sha256: sha256('{}'),
  };
  for (const [name, value] of Object.entries(expected)) assert.is(shown.properties[name], value, name);

  const saved = join(directory, 'saved');
  await cloud.command(['image', 'save', '--file', saved, stored.id]);
  assert.ok((await readFile(saved)).equals(await readFile(build.image.path)));
});

test('where the catalogue has no Swift, files beside an image and logs go to the folder of the file store, all or none', async () => {
  const folder = join(directory, 'beside');
  const withFolder = (path: string) =>
    connect(cloud, { environment: { OS_OBJECT_STORE_SERVICE_TYPE: 'nothing', IMAGEBUILDER_STORE_DIRECTORY: path } });
  const { glanceStore: store } = await withFolder(folder);
  const others = { manifest: 'the manifest', provenance: '{}' };
  const build = await finishedBuild(directory, { others });
  const { buildId } = build;
  const stored = await store.put(...build.given, quiet);
  const [image, manifest] = stored;
  assert.equal(
    stored.slice(1).map((each) => each.store),
    ['file', 'file'],
  );
  assert.is(await readFile(fileURLToPath(manifest?.location ?? ''), 'utf8'), others.manifest);
  assert.equal(await store.find(buildId, quiet), stored);
  assert.equal(await store.put(...(await finishedBuild(directory, { buildId, others })).given, quiet), stored);
  const path = `/v2/images/${image.id}`;
  const properties = JSON.parse((await client.session.send('image', { method: 'GET', path, ...quiet })).text);
  assert.equal(
    [properties.imagebuilder_manifest_sha256, properties.imagebuilder_artifacts, properties.imagebuilder_others],
    [sha256(others.manifest), pathToFileURL(folder).href, undefined],
  );

  const failed = randomUUID();
  for (const id of [buildId, failed]) {
    const { log, origin } = await finishedLog(directory, id, `the log of ${id}\n`);
    assert.equal(await store.keepLog(log, origin, quiet), await store.findLog(id, quiet));
  }
  const described = await store.describe(buildId, quiet);
  assert.equal(described?.artifacts.map(({ role }) => role).sort(), ['log', 'manifest', 'provenance']);
  const { builds } = await store.list({ after: null, limit: 50, signal: never });
  const listed = builds.filter((each) => each.buildId === buildId || each.buildId === failed);
  assert.equal(
    listed.map((each) => [each.buildId, each.image?.id, each.artifacts.length]),
    [
      [failed, undefined, 1],
      [buildId, image.id, 3],
    ],
  );
  // A worker on another machine has the image all the same, and does not put it again.
  assert.equal(await (await withFolder(join(directory, 'elsewhere'))).glanceStore.find(buildId, quiet), [image]);

  // Deleted in Glance itself: what is in the folder is shown, and goes by the limits of the file store.
  await client.glance.remove(image.id, quiet);
  const page = await store.list({ after: null, limit: 50, signal: never });
  const missing = page.builds.find((each) => each.buildId === buildId);
  assert.equal(missing, await store.describe(buildId, quiet));
  assert.equal([missing?.state, missing?.image, missing?.artifacts.length], ['image_missing', null, 3]);
  const environment = { ...cloud.environment, OS_OBJECT_STORE_SERVICE_TYPE: 'nothing', IMAGEBUILDER_STORE: 'glance' };
  const inputs = await storeInputs({ ...environment, IMAGEBUILDER_STORE_DIRECTORY: folder });
  const findings = await Array.fromAsync(glanceAtStores(inputs, never));
  assert.match(findings.at(-1)?.detail ?? '', /; there are files of one image that is in Glance no more/);
  const { isGone } = chooseStores(inputs);
  const other = await finishedBuild(directory, { others });
  const there = await store.put(...other.given, quiet);
  await applyRetention({
    ...{ directory: folder, isGone, isUnfinished: () => false, log: createLog({ level: 'error' }) },
    ...{ maximumBytes: 1, maximumAgeMs: null, now: () => Date.now() + 7_200_000 },
  });
  assert.is(await store.describe(buildId, quiet), null);
  assert.equal(await store.find(other.buildId, quiet), there);
  await store.remove(other.buildId, quiet);
  await rm(join(folder, '.retention.lock'));

  const before = await readdir(folder, { recursive: true });
  const cancelled = new AbortController();
  const onProgress = afterBytes(middle, () => cancelled.abort(new Error('cancelled')));
  const half = await finishedBuild(directory, { ...large, others });
  await store.put(...half.given, { signal: cancelled.signal, onProgress }).then(
    () => assert.unreachable(),
    (error) => assert.is(error, cancelled.signal.reason),
  );
  assert.equal(await readdir(folder, { recursive: true }), before);
  for (const id of [buildId, failed]) await store.remove(id, quiet);
  assert.equal((await readdir(folder, { recursive: true })).sort(), ['glance', 'logs']);

  // Where the folder cannot be used, the image is kept alone.
  const without = await withFolder(join(build.image.path, 'no-folder'));
  const alone = await finishedBuild(directory, { others });
  assert.is((await without.glanceStore.put(...alone.given, quiet)).length, 1);
  assert.match(without.lines.join('\n'), 'there is no place for files beside images');
  await without.glanceStore.remove(alone.buildId, quiet);
});

test('an image with this build id that is empty, garbage or of another project is not taken for it', async () => {
  const build = await finishedBuild(directory);
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
    tags: ['imagebuilder'],
    imagebuilder_build_id: build.buildId,
    imagebuilder_size: String(build.image.sizeBytes),
    imagebuilder_sha256: build.image.checksums.sha256,
    imagebuilder_sha512: build.image.checksums.sha512,
  };
  const forged = await other.glance.create({ ...record, visibility: 'community' }, quiet);
  await other.glance.upload(forged.id, { path: build.image.path, startByte: 0, bytes: build.image.sizeBytes }, quiet);
  const short = await client.glance.create(record, quiet);
  await client.glance.upload(short.id, { path: build.image.path, startByte: 0, bytes: 1000 }, quiet);
  const empty = await client.glance.create(record, quiet);
  await client.glance.upload(empty.id, { path: build.image.path, startByte: 0, bytes: 0 }, quiet);
  assert.equal(await statuses(build.buildId), ['active', 'active'], 'Glance itself takes them');

  assert.is(await client.glanceStore.find(build.buildId, quiet), null);
  const [stored] = await client.glanceStore.put(...build.given, quiet);
  assert.not.ok([forged.id, short.id, empty.id].includes(stored.id));
  assert.equal(await statuses(build.buildId), ['active']);
  assert.ok(await other.glance.get(forged.id, quiet), 'what is not ours is left alone');
});

for (const end of variants('SIGKILL', 'SIGTERM')) {
  test(`Glance stopped by ${end} in the middle of an upload gets the image once it is back`, async () => {
    const build = await finishedBuild(directory, large);
    let restarted: Promise<void> | undefined;
    const restart = async () => {
      await cloud.glance.stop({ kill: end === 'SIGKILL' });
      await cloud.glance.start();
    };
    const onProgress = afterBytes(middle, () => {
      restarted = restart();
    });
    const [stored] = await client.glanceStore.put(...build.given, { signal: never, onProgress });
    await restarted;
    assert.ok(restarted !== undefined);
    assert.equal(stored.checksums, build.image.checksums);
    assert.equal(await statuses(build.buildId), ['active'], 'what was stuck in saving is gone');
  });
}

test('an upload of which Glance takes no byte any more is broken off and starts anew', async () => {
  const build = await finishedBuild(directory, large);
  const { glanceStore, lines } = await connect(cloud, { settings: { stallTimeoutMs: 1_500 } });
  let woken: Promise<void> | undefined;
  const onProgress = afterBytes(middle, () => {
    cloud.glance.pause();
    woken = sleep(4_000).then(() => cloud.glance.resume());
  });
  await glanceStore.put(...build.given, { signal: never, onProgress });
  await woken;
  assert.match(lines.join(''), /took no byte for/);
  assert.equal(await statuses(build.buildId), ['active']);
});

test('an image deleted by somebody else in the middle of its upload is uploaded anew', async () => {
  const build = await finishedBuild(directory, large);
  let removed: Promise<unknown> | undefined;
  const remove = async () => {
    for (const { id } of await client.glance.list(build.buildId, quiet)) await client.glance.remove(id, quiet);
  };
  const { glanceStore } = await connect(cloud);
  const onProgress = afterBytes(middle, () => {
    cloud.glance.pause();
    removed = sleep(100).then(() => {
      cloud.glance.resume();
      return remove();
    });
  });
  const [stored] = await glanceStore.put(...build.given, { signal: never, onProgress });
  await removed;
  assert.ok(stored.id);
  assert.equal(await statuses(build.buildId), ['active']);
});

test('while an image is on its way, nobody takes the files beside it for those of a deleted one', async () => {
  const finished = await finishedBuild(directory, { ...large, others: { manifest: 'm', provenance: '{}' } });
  const { buildId } = finished;
  const paused = Promise.withResolvers<void>();
  const onProgress = afterBytes(middle, () => {
    cloud.glance.pause();
    paused.resolve();
  });
  const put = client.glanceStore.put(...finished.given, { signal: never, onProgress });
  await paused.promise;
  const names = (await client.container.list('glance/', quiet)).filter(({ name }) => name.includes(buildId));
  assert.is(names.length, 2, 'the files are there');
  // Glance answers nobody while it is paused, this call neither.
  const described = client.glanceStore.describe(buildId, quiet);
  cloud.glance.resume();
  const seen = await described;
  assert.ok(seen === null || seen.state === 'whole', seen?.state);
  for (let state: string | undefined; state !== 'whole'; ) {
    const { builds } = await client.glanceStore.list({ after: null, limit: 100, signal: never });
    state = builds.find((build) => build.buildId === buildId)?.state;
    assert.ok(state === undefined || state === 'whole', state);
  }
  await put;
  await client.glanceStore.remove(buildId, quiet);
});

test('an image whose files are gone from Swift is listed with what is left, and says so', async () => {
  const finished = await finishedBuild(directory, { others: { manifest: 'm', provenance: '{}' } });
  const [image, ...others] = await client.glanceStore.put(...finished.given, quiet);
  for (const { id } of others) await client.container.remove(id, quiet);
  const found = await client.glanceStore.describe(finished.buildId, quiet);
  assert.equal([found?.state, found?.image?.id, found?.artifacts], ['files_missing', image.id, []]);
  await client.glanceStore.remove(finished.buildId, quiet);
});

test('an image beyond a limit is refused, tried only once, and leaves nothing', async () => {
  const before = (await filesOfGlance()).length;
  for (const limits of [{ imageSizeCapBytes: 4 * MiB }, { storageQuota: '1MB' }]) {
    await cloud.setGlanceLimits(limits);
    const build = await finishedBuild(directory, large);
    const { glanceStore, lines } = await connect(cloud);
    const error = await failure(glanceStore.put(...build.given, quiet));
    assert.is(error.code, 'store.refused');
    assert.match(error.message, 'answered 413');
    assert.equal(lines, []);
    assert.equal(await statuses(build.buildId), []);
  }
  await cloud.setGlanceLimits({});
  assert.is((await filesOfGlance()).length, before);
});

test('where a quota leaves no room for all properties an image has those that identify it', async () => {
  await cloud.setGlanceLimits({ propertyQuota: 5 });
  const build = await finishedBuild(directory);
  const [stored] = await client.glanceStore.put(...build.given, quiet);
  await cloud.setGlanceLimits({});
  assert.is((await client.glanceStore.find(build.buildId, quiet))?.[0].id, stored.id);
});

test('an image has the properties, tags and needs that settings give it, in values of every form', async () => {
  const environment = {
    IMAGEBUILDER_GLANCE_PROPERTIES:
      'trait:HW_CPU_X86_AVX2=required, hw:Mixed_Case=Yes Sir, os_command_line=console=ttyS0 quiet, note="a, \\"b\\" c=d ", Größe=groß, empty=',
    IMAGEBUILDER_GLANCE_TAGS: 'golden,noble',
    IMAGEBUILDER_GLANCE_MIN_DISK: '10',
    IMAGEBUILDER_GLANCE_MIN_RAM: '512',
    IMAGEBUILDER_GLANCE_PROTECTED: 'true',
    IMAGEBUILDER_GLANCE_OMIT_PROPERTIES: 'os_distro',
  };
  const build = await finishedBuild(directory);
  const { glanceStore, session } = await connect(cloud, { environment });
  const [stored] = await glanceStore.put(...build.given, quiet);
  const shown = JSON.parse(
    (await session.send('image', { method: 'GET', path: `/v2/images/${stored.id}`, ...quiet })).text,
  );
  assert.equal([shown.min_disk, shown.min_ram, shown.protected], [10, 512, true]);
  assert.equal(shown.tags.sort(), ['golden', 'imagebuilder', 'noble']);
  assert.is(shown['trait:HW_CPU_X86_AVX2'], 'required');
  assert.is(shown['hw:Mixed_Case'], 'Yes Sir');
  assert.is(shown.os_command_line, 'console=ttyS0 quiet');
  assert.is(shown.note, 'a, "b" c=d ');
  assert.is(shown.Größe, 'groß');
  assert.is(shown.empty, '');
  assert.is(shown.os_distro, undefined);
  assert.is(shown.os_version, '24.04');

  await glanceStore.remove(build.buildId, quiet);
  assert.equal(await statuses(build.buildId), [], 'protection keeps Image Builder from no clean-up of its own');
});

test('the check uploads what a build would: it fails where builds would fail, and only there', async () => {
  const check = async (environment: Record<string, string> = {}) => {
    const inputs = await storeInputs({ ...cloud.environment, ...environment, IMAGEBUILDER_STORE: 'glance' });
    return (await Array.fromAsync(checkStores(inputs))).at(-1);
  };
  await cloud.setGlanceLimits({ diskFormats: ['raw'] });
  const raw = await check();
  assert.equal([raw?.what, raw?.ok], ['Glance upload', false]);
  assert.match(raw?.detail ?? '', /qcow2/);
  await cloud.setGlanceLimits({ diskFormats: ['qcow2'], protectedProperties: ['os_distro', 'secret'] });
  const named = await check();
  assert.not.ok(named?.ok);
  assert.match(
    named?.detail ?? '',
    /protects the property os_distro: leave it out with IMAGEBUILDER_GLANCE_OMIT_PROPERTIES/,
  );
  const rest = { IMAGEBUILDER_GLANCE_OMIT_PROPERTIES: 'os_distro' };
  const secret = await check({ ...rest, IMAGEBUILDER_GLANCE_PROPERTIES: 'secret=1' });
  assert.match(secret?.detail ?? '', /protects the property secret: take it out of IMAGEBUILDER_GLANCE_PROPERTIES/);
  const well = await check({ ...rest, IMAGEBUILDER_GLANCE_PROTECTED: 'true' });
  assert.ok(well?.ok, well?.detail);
  assert.match(well?.detail ?? '', /^an empty qcow2 image put.*; output_format raw would fail: .*'raw'/);
  await cloud.setGlanceLimits({});
});

test("an image that is to be public is refused to a member, with Glance's reason", async () => {
  const { glanceStore } = await connect(cloud, { settings: { glanceVisibility: 'public' } });
  const error = await failure(glanceStore.put(...(await finishedBuild(directory)).given, quiet));
  assert.is(error.code, 'store.refused');
  assert.match(error.message, /403.*publicize_image/);
});

test('a community image is found again', async () => {
  const build = await finishedBuild(directory);
  const { glanceStore } = await connect(cloud, { settings: { glanceVisibility: 'community' } });
  const stored = await glanceStore.put(...build.given, quiet);
  assert.equal(await glanceStore.find(build.buildId, quiet), stored);
});

test('a token that expires in the middle of an upload is renewed and the image kept', async () => {
  await cloud.setTokenLifetime(6);
  const build = await finishedBuild(directory, large);
  const { glanceStore, lines } = await connect(cloud);
  let woken: Promise<void> | undefined;
  const onProgress = afterBytes(middle, () => {
    cloud.glance.pause();
    woken = sleep(7_000).then(() => cloud.glance.resume());
  });
  await glanceStore.put(...build.given, { signal: never, onProgress });
  await woken;
  await cloud.setTokenLifetime(3600);
  assert.not.match(lines.join(''), 'starts anew');
  assert.equal(await statuses(build.buildId), ['active']);
});

long('Keystone away for ten seconds delays an upload and no more', async () => {
  const build = await finishedBuild(directory);
  const { glanceStore } = await connect(cloud);
  // With a token in hand: Glance answers 401 while it cannot ask Keystone about it.
  await glanceStore.find(build.buildId, quiet);
  await cloud.keystone.stop();
  const back = sleep(10_000).then(() => cloud.keystone.start());
  const [stored] = await glanceStore.put(...build.given, quiet);
  await back;
  assert.equal(stored.checksums, build.image.checksums);
});

long('Glance that stays away is an upstream failure that may pass', async () => {
  await cloud.glance.stop();
  const { glanceStore } = await connect(cloud, { retry: { ...quickRetry, patienceMs: 1_000 } });
  const error = await failure(glanceStore.put(...(await finishedBuild(directory)).given, quiet));
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
