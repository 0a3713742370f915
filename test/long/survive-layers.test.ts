import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ImageResult } from '#lib/api/image-result.ts';
import type { BuildView } from '#lib/queue/build.ts';
import type { Fleet } from '../../lab/fleet/fleet.ts';
import { assertEndedWell, holdAt, kill, scenarios, startNext } from '../system/faults/scenarios.ts';

/** Layers that several workers make at the same time, and whose workers are killed. */

const scenario = scenarios();

const wanted = ['git', 'libfoo'];
/** Its folder goes when a layer is made. */
const madeLayer = /\/[^/]*\/alone removed$/;
/** The image of a layer is the first file that a build moves into the cache: records follow it. */
const savesLayer = /\/layers\/blobs\/[0-9a-f]+ moved$/;
const leastImageBytes = 20 * 2 ** 20;

async function submit(fleet: Fleet): Promise<string> {
  // The finished images are not kept (fleet.ts): each build makes its own.
  return (await fleet.submit(fleet.request({ package_list: wanted }))).buildId;
}

async function endWell(fleet: Fleet, buildId: string, attempt = 1): Promise<ImageResult> {
  const build = await fleet.ended(buildId);
  await assertEndedWell(fleet, build, attempt);
  const { image } = build.event;
  if (image == null) throw new Error('a completed build has an image');
  return image;
}

const isWaiting = ({ event }: BuildView) => event.message?.includes('waiting for it') ?? false;

/** Whether the log of a build that has ended says that it made a layer. */
async function makes(fleet: Fleet, buildId: string): Promise<boolean> {
  const { event } = await fleet.ended(buildId);
  const stored = event.artifacts?.find(({ role }) => role === 'log');
  if (stored === undefined) throw new Error('the log is not stored');
  const text = gunzipSync(await readFile(fileURLToPath(stored.location))).toString();
  return text.includes('are installed for later builds too');
}

/** Packages with versions, without those of the PPA, of which layers have none. */
const installedBy = ({ packages = [] }: ImageResult) =>
  packages.map(({ name, version }) => `${name} ${version}`).filter((line) => !line.startsWith('libfoo '));

/** Images of layers in the cache, and files that nobody has finished. */
async function keptLayers(fleet: Fleet): Promise<{ readonly images: number; readonly parts: number }> {
  const folder = join(fleet.directory, 'cache', 'layers');
  const names = await readdir(join(folder, 'blobs'));
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(folder, 'blobs', name))).size));
  const parts = await readdir(join(folder, 'parts'));
  return { images: sizes.filter((bytes) => bytes > leastImageBytes).length, parts: parts.length };
}

scenario('of two builds that need the same new layer one makes it, and the other waits for it', async (fleet) => {
  const learning = await startNext(fleet);
  const before = await endWell(fleet, await submit(fleet));
  assert.is(before.layer, undefined);
  await kill(learning);

  fleet.gate.close();
  await startNext(fleet, holdAt(fleet, madeLayer));
  const maker = await submit(fleet);
  await fleet.gate.reached();
  await startNext(fleet);
  const waiter = await submit(fleet);
  await fleet.when(waiter, isWaiting);
  fleet.gate.open();
  const made = [await endWell(fleet, maker), await endWell(fleet, waiter)];
  for (const image of made) {
    assert.is(image.layer?.packages, installedBy(before).length);
    assert.equal(installedBy(image), installedBy(before));
  }
  assert.equal([await makes(fleet, maker), await makes(fleet, waiter)], [true, false]);
  assert.equal(await keptLayers(fleet), { images: 1, parts: 0 });
  const { layer } = await endWell(fleet, await submit(fleet));
  for (const image of made) assert.equal(image.layer, layer, 'all begin with the same one');
});

scenario(
  'killed while it saves a layer: the next attempt makes it, and later builds begin with that',
  async (fleet) => {
    // No layer of the scenario before is found with another compression.
    const fresh = { IMAGEBUILDER_COMPRESSION: 'zstd' };
    const learning = await startNext(fleet, fresh);
    const before = await endWell(fleet, await submit(fleet));
    assert.is(before.layer, undefined);
    await kill(learning);
    const { images } = await keptLayers(fleet);

    fleet.gate.close();
    const worker = await startNext(fleet, { ...fresh, ...holdAt(fleet, savesLayer) });
    const buildId = await submit(fleet);
    await fleet.gate.reached();
    await startNext(fleet, fresh);
    const waiter = await submit(fleet);
    await fleet.when(waiter, isWaiting);
    await kill(worker);
    fleet.gate.open();
    const waited = await endWell(fleet, waiter);
    const image = await endWell(fleet, buildId, 2);
    assert.equal(waited.layer, image.layer);
    assert.equal(installedBy(image), installedBy(before));
    assert.is(image.layer?.packages, installedBy(before).length);
    assert.equal(await keptLayers(fleet), { images: images + 1, parts: 1 });
    assert.equal((await endWell(fleet, await submit(fleet))).layer, image.layer);
  },
);

test.run();
