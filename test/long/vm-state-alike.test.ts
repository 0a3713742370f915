import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { workerArchitecture } from '#lib/architecture.ts';
import { openGuestBuilds } from '../system/guest-builds.ts';
import { compareListings } from '../system/image-comparison.ts';
import { listImage } from '../system/image-listing.ts';
import { ownSite } from '../system/own-site.ts';

/** Whole builds in a vm that has booted, and in one that goes on with a saved state. */

const startedSeconds = Math.floor(Date.now() / 1000);
// ldconfig keeps the times and inodes of libraries here, to save itself reading them again.
const explained = ['1:/var/cache/ldconfig/aux-cache'];

test('the image of a vm that goes on with a saved state is that of a vm that has booted, file by file', async () => {
  await using builds = await openGuestBuilds('plain', [ownSite('jq')]);
  const blobs = join(builds.directory, 'cache/vm/states/blobs');
  const states = async () => {
    const names = await readdir(blobs);
    const sizes = await Promise.all(names.map(async (name) => (await stat(join(blobs, name))).size));
    return names.filter((_, index) => (sizes[index] ?? 0) > 2 ** 20);
  };
  const build = async () => {
    const { path } = await builds.build('vm', ['own-site'], { environment: { IMAGEBUILDER_VM_CPUS: '1' } });
    return await listImage(path, builds.directory);
  };
  const booted = await build();
  assert.equal(await states(), [], 'the first vm boots');
  const restored = await build();
  // One with which no vm had started would have been dropped.
  assert.is((await states()).length, 1, 'the second one saves a state and goes on with it');
  const differences = compareListings(booted, restored, startedSeconds);
  assert.equal(
    differences.filter(({ path }) => !explained.includes(path)),
    [],
  );
  assert.is(restored.files.get('1:/usr/bin/own-site')?.mode, '4750', 'the package has done what it can');
});

// Only emulated machines of this architecture have states.
if (workerArchitecture === 'amd64') test.run();
