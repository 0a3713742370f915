import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type KnownBase,
  type Layer,
  type LayerKey,
  openLayerStore,
  type TurnOptions,
} from '#lib/pipeline/layer-store.ts';
import { makeRoomInCaches } from '#lib/pipeline/make-room.ts';
import { temporaryFolder } from '../fetch/with-server.ts';
import { outsideState } from './outside-state.ts';

const { signal } = new AbortController();
const ofBase: LayerKey = {
  ...{
    files: ['a'.repeat(64)],
    base: { image_type: 'cloud' },
    maximumVirtualBytes: 2 ** 30,
    guest: 'host',
    vmNetwork: true,
    compression: 'zlib',
  },
};
const known: KnownBase = {
  baseSha256: 'a'.repeat(64),
  facts: {
    ...{ distribution: 'debian', distributionVersion: '12', series: 'bookworm', architecture: 'amd64' },
    ...{
      foreignArchitectures: [],
      aptArchitectures: false,
      aptVersion: '2.6.1',
      caCertificates: true,
      aptTransportHttps: false,
    },
    ...{ packages: [], rooms: [] },
  },
  state: outsideState,
  pristine: 'begin\n',
};

const layerOf = (content: string, packages: readonly string[] = [content.slice(0, 8)]): Layer => ({
  ...{ wanted: [], packages, present: [], openedSeconds: 1, sizeBytes: content.length, madeAt: '' },
  sha256: createHash('sha256').update(content).digest('hex'),
});

/** A cache in a folder of its own, with a work directory for each use. */
async function openHouse(maximumBytes = 1_000_000) {
  const folder = await temporaryFolder();
  const cacheDirectory = join(folder.path, 'cache');
  await mkdir(cacheDirectory);
  let count = 0;
  const place = async () => {
    count += 1;
    const workDirectory = join(folder.path, `work-${count}`);
    await mkdir(workDirectory);
    return { workDirectory, signal };
  };
  const openStore = (key: LayerKey = ofBase) => openLayerStore(cacheDirectory, maximumBytes, key);
  const store = await openStore();
  return {
    ...{ store, cacheDirectory, openStore, place },
    async keep(layer: Layer, content: string) {
      const at = await place();
      const path = join(at.workDirectory, 'layer');
      await writeFile(path, content);
      const kept = await store.keep(layer, path, at);
      assert.equal(await readdir(at.workDirectory), [], 'the file has moved, or is gone');
      return kept;
    },
    async take(layer: Layer): Promise<string | null> {
      const target = join((await place()).workDirectory, 'taken');
      return (await store.take(layer, target)) ? await readFile(target, 'utf8') : null;
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

test('a layer is found with what the worker knows of its base image, and nothing of it for any other', async () => {
  await using house = await openHouse();
  const layer = layerOf('content');
  await house.keep(layer, 'content');
  await house.store.learn(known, { wanted: ['a'], packages: ['a 1'], own: {} }, await house.place());
  const again = await house.openStore();
  assert.equal(await again.readBase(), known);
  assert.equal(await again.readShelf(), {
    seen: [{ wanted: ['a'], packages: ['a 1'], own: {} }],
    layers: [layer],
    refused: [],
  });
  assert.is(await house.take(layer), 'content');
  const others: LayerKey[] = [
    { ...ofBase, files: ['b'.repeat(64)] },
    { ...ofBase, base: { image_type: 'touch' } },
    { ...ofBase, maximumVirtualBytes: 2 ** 31 },
    { ...ofBase, guest: 'vm' },
    { ...ofBase, vmNetwork: false },
    { ...ofBase, compression: 'zstd' },
  ];
  for (const key of others) {
    const other = await house.openStore(key);
    assert.is(await other.readBase(), null);
    assert.equal(await other.readShelf(), { seen: [], layers: [], refused: [] });
    assert.not.ok(await other.take(layer, join((await house.place()).workDirectory, 'taken')), 'a digest is no claim');
  }
});

test('builds that make layers of the same base image at the same time leave all of them', async () => {
  await using house = await openHouse();
  const contents = ['one', 'two', 'three', 'four'];
  await Promise.all([
    ...contents.map((content) => house.keep(layerOf(content), content)),
    house.keep(layerOf('one'), 'one'),
    house.place().then((place) => house.store.refuse({ packages: ['x'], sizeBytes: null }, place)),
  ]);
  const { layers, refused } = await house.store.readShelf();
  assert.equal(layers.map(({ packages }) => packages[0]).sort(), [...contents].sort());
  assert.equal(refused, [{ packages: ['x'], sizeBytes: null }]);
  for (const content of contents) assert.is(await house.take(layerOf(content)), content);
});

test('of the layers that builds make of the same packages at the same time, all get the first one', async () => {
  await using house = await openHouse();
  const [first, later] = [layerOf('first', ['a']), layerOf('later', ['a'])];
  assert.equal(await house.keep(first, 'first'), first);
  assert.equal(await house.keep(later, 'later'), first);
  assert.equal((await house.store.readShelf()).layers, [first]);
  assert.is(await house.take(first), 'first');
  assert.is(await house.take(later), null);
});

test('one build makes a layer at a time: others wait for their turn, with patience, and no other layer waits', async () => {
  await using house = await openHouse();
  const take = async (packages: readonly string[], changes: Partial<TurnOptions> = {}) => {
    const turn = await house.store.turn(packages, { signal, onWait: () => undefined, ...changes });
    return turn ?? 'in vain';
  };
  const first = await take(['a']);
  assert.is.not(first, 'in vain');
  await using other = new AsyncDisposableStack();
  const unlike = await take(['b'], { onWait: () => assert.unreachable() });
  if (unlike !== 'in vain') other.use(unlike);
  assert.is(await take(['a'], { patienceMs: 1 }), 'in vain');
  const stop = new AbortController();
  const reason = new Error('the build is cancelled');
  const stopped = take(['a'], { signal: stop.signal, onWait: () => stop.abort(reason) });
  assert.is(await stopped.catch((error: unknown) => error), reason);
  const waits = Promise.withResolvers<void>();
  const second = take(['a'], { onWait: waits.resolve });
  await waits.promise;
  if (first !== 'in vain') await first[Symbol.asyncDispose]();
  const turn = await second;
  assert.is.not(turn, 'in vain');
  if (turn !== 'in vain') await turn[Symbol.asyncDispose]();
});

test('a newer layer takes the place of one whose image is gone', async () => {
  await using house = await openHouse();
  const [gone, newer] = [layerOf('gone', ['a']), layerOf('newer', ['a'])];
  await house.keep(gone, 'gone');
  await rm(join(house.cacheDirectory, 'layers', 'blobs', gone.sha256));
  assert.equal(await house.keep(newer, 'newer'), newer);
  assert.equal((await house.store.readShelf()).layers, [newer]);
});

test('what a worker was killed while keeping is not found, and a damaged record is none', async () => {
  await using house = await openHouse();
  await house.keep(layerOf('content'), 'content');
  const layers = join(house.cacheDirectory, 'layers');
  // A killed worker leaves a file without a name, or one that no record names.
  await writeFile(join(layers, 'parts', 'half'), 'con');
  await writeFile(join(layers, 'blobs', layerOf('whole').sha256), 'whole');
  assert.is(await house.take(layerOf('whole')), null);
  assert.equal((await house.store.readShelf()).layers, [layerOf('content')]);
  for (const name of await readdir(join(layers, 'blobs'))) await writeFile(join(layers, 'blobs', name), 'damage');
  assert.equal(await house.store.readShelf(), { seen: [], layers: [], refused: [] });
  assert.is(await house.take(layerOf('content')), null);
});

test('a layer that is forgotten is gone', async () => {
  await using house = await openHouse();
  await house.keep(layerOf('one'), 'one');
  await house.keep(layerOf('two'), 'two');
  await house.store.forget(layerOf('one'), await house.place());
  assert.equal((await house.store.readShelf()).layers, [layerOf('two')]);
  assert.is(await house.take(layerOf('one')), null);
});

test('the least recently used layers go first, and those of no build in need of room', async () => {
  const bytes = 20_000;
  await using house = await openHouse(3 * bytes);
  for (const letter of ['a', 'b', 'c', 'd']) {
    await house.keep(layerOf(letter.repeat(bytes)), letter.repeat(bytes));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.is(await house.take(layerOf('a'.repeat(bytes))), null);
  assert.is(await house.take(layerOf('d'.repeat(bytes))), 'd'.repeat(bytes));
  await makeRoomInCaches(house.cacheDirectory, 1_000_000);
  assert.is(await house.take(layerOf('c'.repeat(bytes))), null);
});

test('only the last builds are remembered, each set of packages once', async () => {
  await using house = await openHouse();
  for (let count = 0; count < 20; count += 1) {
    await house.store.learn(null, { wanted: [], packages: [`p${count}`], own: {} }, await house.place());
  }
  await house.store.learn(null, { wanted: ['again'], packages: ['p19'], own: {} }, await house.place());
  const { seen } = await house.store.readShelf();
  assert.is(seen.length, 16);
  assert.equal(seen.slice(0, 2), [
    { wanted: ['again'], packages: ['p19'], own: {} },
    { wanted: [], packages: ['p18'], own: {} },
  ]);
});

test.run();
