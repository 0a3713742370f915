import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeLiveMedia } from '../../lab/images/live-media.ts';
import { assertSame, type Files } from '../squashfs/files.ts';
import { openFile, readFiles } from '../squashfs/make.ts';
import { extractMedium } from '../system/extract-medium.ts';
import { type BuiltImage, type GuestBuilds, openGuestBuilds } from '../system/guest-builds.ts';
import { addSources } from '../system/medium-with-sources.ts';
import { ownSite } from '../system/own-site.ts';
import { assertSameDocuments } from '../system/same-documents.ts';

/** Builds of a live medium with several file trees that begin with packages which an earlier build had too. */

const environment = { IMAGEBUILDER_LAYERS_CACHE_SIZE: '4G' };
const wanted = ['own-site'];
const layers = ['minimal.standard', 'minimal.standard.live'].map((name) => `casper/${name}.squashfs`);
const startedSeconds = Math.floor(Date.now() / 1000);

/** All allowed differences: ldconfig's times and inodes of libraries, and dpkg's status before its last change. */
const explained = ['var/cache/ldconfig/aux-cache', 'var/lib/dpkg/status-old'];

const cleanup = new AsyncDisposableStack();
let builds: GuestBuilds;
let lines: string[] = [];
let extracted = 0;

test.before(async () => {
  const { layered, codename } = await makeLiveMedia(baseImageCache, () => {});
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-layers-cd-'));
  cleanup.defer(() => rm(directory, { recursive: true }));
  const path = await addSources(layered, directory);
  builds = cleanup.use(await openGuestBuilds({ imageType: 'cd', path, codename }, [ownSite('curl')]));
});

test.after(() => cleanup.disposeAsync());

async function build(guest: 'host' | 'vm', packages = wanted): Promise<BuiltImage> {
  lines = [];
  return await builds.build(guest, packages, { environment, onLine: (line) => lines.push(line) });
}

const makesLayer = () => lines.some((line) => line.includes('packages are installed for later builds too'));

async function extract({ path }: BuiltImage): Promise<string> {
  extracted += 1;
  return await extractMedium(path, join(builds.directory, `medium-${extracted}`));
}

/** The files of a layer. Of times since the start of the tests it only matters that both are such. */
async function filesOf(tree: string, layer: string): Promise<Files> {
  await using opened = await openFile(join(tree, layer));
  const files = await readFiles(opened.squashfs);
  return new Map(
    [...files].flatMap(([path, { modifiedSeconds: seconds, ...file }]) =>
      explained.includes(path) ? [] : [[path, { ...file, modifiedSeconds: Math.min(seconds, startedSeconds) }]],
    ),
  );
}

async function assertAlike(layered: BuiltImage, whole: BuiltImage): Promise<void> {
  const [one, other] = [await extract(layered), await extract(whole)];
  for (const tree of [one, other]) {
    await exec('md5sum', ['--check', '--strict', '--quiet', 'md5sum.txt'], { cwd: tree });
  }
  for (const layer of layers) assertSame(await filesOf(one, layer), await filesOf(other, layer), layer);
  const site = (await filesOf(one, layers[0] ?? '')).get('usr/bin/own-site');
  assert.is(site?.mode, 0o4750, 'the package has done what it can');
  const { stdout } = await exec('diff', ['-rq', one, other], { okExitCodes: [0, 1] });
  const differing = stdout.trimEnd().split('\n');
  // Boot images name their place on the medium.
  const follows = [...layers, 'md5sum.txt', 'boot/grub/i386-pc/eltorito.img', 'boot.catalog'];
  const same = follows.map((path) => `Files ${join(one, path)} and ${join(other, path)} differ`);
  assert.equal(
    differing.filter((line) => !same.includes(line)),
    [],
  );
  await assertSameDocuments(layered, whole, builds.ppaUrl);
}

async function assertLayers(guest: 'host' | 'vm'): Promise<BuiltImage> {
  const first = await build(guest);
  assert.is(first.image.layer, undefined);
  const second = await build(guest);
  assert.ok(makesLayer(), lines.join('\n'));
  assert.is(second.image.layer?.packages, (first.image.packages?.length ?? 0) - 1, lines.join('\n'));
  await assertAlike(second, first);
  return second;
}

test('a medium that is made from a layer is the one that is made without, file by file, in each of its file trees', async () => {
  const { image } = await assertLayers('host');
  const third = await build('host', ['tree', ...wanted]);
  assert.not.ok(makesLayer());
  assert.equal(third.image.layer, image.layer);
  assert.ok(third.image.packages?.some(({ name }) => name === 'tree'));
});

test('a vm makes layers of media too', async () => {
  await assertLayers('vm');
});

test.run();
