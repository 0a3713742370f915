import { appendFile, open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { hashFile } from '#lib/image/digest.ts';
import type { PackageRecipe } from '../../lab/servers/launchpad.ts';
import { type BuiltImage, type GuestBuildOptions, type GuestBuilds, openGuestBuilds } from '../system/guest-builds.ts';
import { buildDefinitionOf } from '../system/provenance.ts';

/** Requests whose image this worker has built before. */

const first: PackageRecipe = { name: 'same', version: '1.0-1', files: { '/usr/share/same/word': 'one\n' } };
const kept = { IMAGEBUILDER_FINISHED_CACHE_SIZE: '2G' };

let builds: GuestBuilds;
let lines: string[] = [];
let stored: BuiltImage;

test.before(async () => {
  builds = await openGuestBuilds('plain', [first]);
});

test.after(async () => {
  await builds[Symbol.asyncDispose]();
});

async function build(options: GuestBuildOptions = {}): Promise<BuiltImage> {
  lines = [];
  return await builds.build('host', ['same'], { environment: kept, onLine: (line) => lines.push(line), ...options });
}

const stepsOf = ({ events }: BuiltImage) => [...new Set(events.flatMap(({ step }) => step ?? []))];
const isAnew = (built: BuiltImage) => built.image.reused === undefined && stepsOf(built).includes('install');

/** The files of the cache, whatever they hold. */
async function cached() {
  const folder = join(builds.directory, 'cache', 'finished', 'blobs');
  const paths = (await readdir(folder)).map((name) => join(folder, name));
  return await Promise.all(paths.map(async (path) => ({ path, stats: await stat(path) })));
}

/** The documents of a build, by their roles. */
async function documentsOf({ artifacts }: BuiltImage): Promise<ReadonlyMap<string, string>> {
  const read = async ({ role, location }: BuiltImage['artifacts'][number]) =>
    [role, await readFile(fileURLToPath(location), 'utf8')] as const;
  return new Map(await Promise.all(artifacts.map(read)));
}

test('the same request again gets the image that the worker has made, under its own names and with its own documents', async () => {
  const made = await build({ ticket: 'T-1' });
  stored = made;
  assert.ok(isAnew(made));
  const again = await build({ ticket: 'T-2' });
  assert.equal(stepsOf(again), ['fetch', 'reuse', 'check', 'upload']);
  const { reused, checksums, packages, name } = again.image;
  assert.is(reused?.build_id, made.events[0]?.build_id);
  assert.equal([checksums, packages], [made.image.checksums, made.image.packages]);
  assert.equal((await hashFile(again.path)).checksums, checksums);
  assert.match(name, /-T-2-/);
  assert.ok(lines.some((line) => line.includes('has made the same image')));

  const [before, documents] = [await documentsOf(made), await documentsOf(again)];
  assert.equal([...documents.keys()].sort(), [...before.keys()].sort());
  assert.is(documents.get('manifest'), before.get('manifest'));
  for (const artifact of again.artifacts) assert.match(artifact.name, /-T-2-/);
  assert.match(documents.get('spdx') ?? '', name);
  const provenance = documents.get('provenance') ?? '';
  const { internalParameters, externalParameters } = buildDefinitionOf(provenance);
  assert.equal(internalParameters.reused, reused);
  assert.is(externalParameters.ticket_id, 'T-2');
});

test('the cache has of an image only what its base image has not', async () => {
  const keptBytes = (await cached()).reduce((sum, { stats }) => sum + stats.size, 0);
  assert.ok(keptBytes < stored.image.size / 4, `${keptBytes} of ${stored.image.size}`);
});

test('a file of the store is none of the cache: changes to it reach no later image', async () => {
  assert.is((await stat(stored.path)).nlink, 1);
  await appendFile(stored.path, 'changed');
  const other = await build();
  assert.ok(other.image.reused);
  assert.equal((await hashFile(other.path)).checksums, stored.image.checksums);
});

test('a request with `reuse: false` is built anew, and its image serves the next one', async () => {
  const built = await build({ reuse: false });
  assert.ok(isAnew(built));
  assert.not.ok(stepsOf(built).includes('reuse'));
  assert.is((await build()).image.reused?.build_id, built.events[0]?.build_id);
});

test('a damaged image in the cache is built anew, with a warning', async () => {
  let damaged = 0;
  for (const { path, stats } of await cached()) {
    const { atime, mtime, size } = stats;
    await using file = await open(path, 'r+');
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, 0);
    // The records: the mark of V8's format.
    if (buffer[0] === 0xff) continue;
    // As a fault of the disk does it, without a trace in the times.
    await file.write(Buffer.from('damage'), 0, 6, Math.floor(size / 2));
    await file.utimes(atime, mtime);
    damaged += 1;
  }
  assert.ok(damaged > 0);
  assert.ok(isAnew(await build()));
  assert.ok(lines.some((line) => /warning: .* is damaged in the cache/.test(line)));
  assert.ok((await build()).image.reused);
});

test('a new version of a package in the PPA is built in, and the log says why', async () => {
  await builds.republish([{ ...first, version: '1.0-2', files: { '/usr/share/same/word': 'two\n' } }]);
  const built = await build();
  assert.ok(isAnew(built));
  assert.equal(built.image.packages, [{ name: 'same', version: '1.0-2' }]);
  assert.ok(lines.some((line) => line.includes('is not used again: same 1.0-2 would be installed now')));
  assert.is((await build()).image.reused?.build_id, built.events[0]?.build_id);
});

test.run();
