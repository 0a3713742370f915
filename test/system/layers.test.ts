import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isLong, whenLong } from '../runner/long.ts';
import { type BuiltImage, type GuestBuildOptions, type GuestBuilds, openGuestBuilds } from './guest-builds.ts';
import { compareListings, type Difference } from './image-comparison.ts';
import { listImage } from './image-listing.ts';
import { ownSite } from './own-site.ts';
import { buildDefinitionOf } from './provenance.ts';
import { assertSameDocuments, documentsOf } from './same-documents.ts';

/** Builds that begin with packages which an earlier build had too. */

const long = whenLong(test);
const own = ownSite('nginx-light, jq');
const kept = { IMAGEBUILDER_LAYERS_CACHE_SIZE: '4G' };
const wanted = ['own-site', 'git'];
/** Whole seconds, as times in listings are. */
const startedSeconds = Math.floor(Date.now() / 1000);

let builds: GuestBuilds;
let lines: string[] = [];

test.before(async () => {
  builds = await openGuestBuilds('plain', [own]);
});

test.after(async () => {
  await builds[Symbol.asyncDispose]();
});

async function build(
  guest: 'host' | 'vm',
  packages: readonly string[],
  options: GuestBuildOptions = {},
): Promise<BuiltImage> {
  lines = [];
  return await builds.build(guest, packages, { environment: kept, onLine: (line) => lines.push(line), ...options });
}

const makesLayer = () => lines.some((line) => line.includes('packages are installed for later builds too'));

/** All allowed differences, with their reasons. */
const explained: readonly Pick<Difference, 'path' | 'what'>[] = [
  // ldconfig keeps the times and inodes of libraries here, to save itself reading them again.
  { path: '1:/var/cache/ldconfig/aux-cache', what: 'content' },
  // dpkg's backup of its status, before its last change of that: the base image has one.
  { path: '1:/var/lib/dpkg/status-old', what: 'content' },
  { path: '1:/var/lib/dpkg/status-old', what: 'size' },
];

async function assertAlike(layered: BuiltImage, whole: BuiltImage): Promise<void> {
  const [one, other] = [await listImage(layered.path, builds.directory), await listImage(whole.path, builds.directory)];
  const differences = compareListings(one, other, startedSeconds);
  assert.equal(
    differences.filter(({ path, what }) => !explained.some((entry) => entry.path === path && entry.what === what)),
    [],
  );
  assert.is(one.files.get('1:/usr/bin/own-site')?.mode, '4750', 'the package has done what it can');
  await assertSameDocuments(layered, whole, builds.ppaUrl);
}

const layers = new Map<string, BuiltImage['image']['layer']>();

async function assertLayers(guest: 'host' | 'vm'): Promise<void> {
  const first = await build(guest, wanted);
  assert.is(first.image.layer, undefined);
  const second = await build(guest, wanted);
  assert.ok(makesLayer(), lines.join('\n'));
  const { layer } = second.image;
  // Without the package of the PPA.
  assert.is(layer?.packages, (second.image.packages?.length ?? 0) - 1, lines.join('\n'));
  layers.set(guest, layer);
  const { internalParameters } = buildDefinitionOf((await documentsOf(second)).get('provenance') ?? '');
  assert.equal(internalParameters.layer, layer);
  const whole = await build(guest, wanted, { reuse: false });
  assert.is(whole.image.layer, undefined);
  // So the comparison is one of both ways to read the base image as well.
  const isCopied = lines.some((line) => line.includes('over the uncompressed copy of its base image'));
  assert.is(isCopied, guest === 'host', lines.join('\n'));
  await assertAlike(second, whole);
  // The first build has asked the base image for all that the others know of it.
  if (isLong) await assertAlike(first, whole);
}

test('the second build with the same packages of the distribution makes a layer, and its image is the one without', async () => {
  await assertLayers('host');
});

test('the third build begins with the layer, whatever else it installs, such as another version from the PPA', async () => {
  await builds.republish([{ ...own, version: '2.0-1' }]);
  const environment = { ...kept, IMAGEBUILDER_FINISHED_CACHE_SIZE: '2G' };
  const built = await build('host', ['tree', ...wanted], { environment });
  assert.not.ok(makesLayer());
  assert.equal(built.image.layer, layers.get('host'));
  assert.ok(built.image.packages?.some(({ name, version }) => name === 'own-site' && version === '2.0-1'));
  assert.ok(built.image.packages?.some(({ name }) => name === 'tree'));
  const again = await build('host', ['tree', ...wanted], { environment });
  assert.is(again.image.reused?.build_id, built.events[0]?.build_id, 'it can be used again as any image');
});

long('no layer is made of packages that add accounts', async () => {
  // cron adds a group.
  await build('host', ['cron', 'jq']);
  const built = await build('host', ['cron', 'jq']);
  assert.ok(
    lines.some((line) => /no layer is made of [0-9]+ packages: they change \/etc\/g?(group|shadow)-?,/.test(line)),
  );
  assert.is(built.image.layer, undefined);
});

long('no layer is made of packages whose scripts make something anew for each image', async () => {
  // debsecan chooses the minute of its job at random.
  const packages = ['debsecan', 'jq'];
  const first = await build('host', packages);
  const second = await build('host', packages);
  const said = /no layer is made of [0-9]+ packages: each build makes its own \/etc\/cron\.d\/debsecan$/;
  assert.ok(
    lines.some((line) => said.test(line)),
    lines.join('\n'),
  );
  assert.is(second.image.layer, undefined);
  const digestOf = async ({ path }: BuiltImage) =>
    (await listImage(path, builds.directory)).files.get('1:/etc/cron.d/debsecan')?.content;
  assert.is.not(await digestOf(first), await digestOf(second));
});

long('a damaged layer is made anew, with a warning', async () => {
  const folder = join(builds.directory, 'cache', 'layers', 'blobs');
  for (const name of await readdir(folder)) {
    const { atime, mtime, size } = await stat(join(folder, name));
    if (size < 50 * 2 ** 20) continue;
    // As a fault of the disk does it, without a trace in the times.
    await using file = await open(join(folder, name), 'r+');
    await file.write(Buffer.from('damage'), 0, 6, Math.floor(size / 2));
    await file.utimes(atime, mtime);
  }
  const built = await build('host', wanted);
  assert.ok(lines.some((line) => line.includes('installed packages in the cache are damaged')));
  assert.is(built.image.layer, undefined);
  await build('host', wanted);
  assert.ok(makesLayer());
});

long('a vm makes layers too', async () => {
  await assertLayers('vm');
});

test.run();
