import { randomBytes } from 'node:crypto';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { CommonRun } from '#lib/common-run.ts';
import { joinRest, longRuns, writeRest } from '#lib/image/shared-runs.ts';
import { failure } from '../../failure.ts';
import { holds } from '../holds.ts';
import { temporaryFolder } from './temporary.ts';

/** Images that are kept without the bytes of their base images. */

const MiB = 2 ** 20;
const { signal } = new AbortController();

/** An image whose runs are those of its base. */
async function makeImage(runs: readonly CommonRun[], sizeBytes: number) {
  const folder = await temporaryFolder();
  const [basePath, imagePath, restPath] = [folder.file('base'), folder.file('image'), folder.file('rest')];
  const base = randomBytes(8 * MiB);
  const image = randomBytes(sizeBytes);
  for (const run of runs) base.copy(image, run.offsetBytes, run.baseBytes, run.baseBytes + run.sizeBytes);
  await writeFile(basePath, base);
  await writeFile(imagePath, image);
  return { ...{ basePath, imagePath, restPath, image }, joinedPath: folder.file('joined'), folder };
}

for (const [what, shared] of Object.entries({
  'at its start': [{ offsetBytes: 0, sizeBytes: 3 * MiB, baseBytes: 5 * MiB }],
  'at its end': [{ offsetBytes: 4 * MiB, sizeBytes: 2 * MiB, baseBytes: 77 }],
  'side by side, in another order': [
    { offsetBytes: 100, sizeBytes: 2 * MiB, baseBytes: 5 * MiB + 1 },
    { offsetBytes: 100 + 2 * MiB, sizeBytes: MiB, baseBytes: 3 },
  ],
  'in all of it': [{ offsetBytes: 0, sizeBytes: 6 * MiB, baseBytes: 2 * MiB }],
  nowhere: [],
} satisfies Record<string, CommonRun[]>)) {
  test(`an image that has bytes of its base ${what} is the same after it was kept without them`, async () => {
    const sizeBytes = 6 * MiB;
    const made = await makeImage(shared, sizeBytes);
    await using _ = made.folder;
    const rest = await writeRest(made.imagePath, shared, made.restPath, signal);
    const sharedBytes = shared.reduce((sum, run) => sum + run.sizeBytes, 0);
    assert.is((await stat(made.restPath)).size, sizeBytes - sharedBytes);
    assert.is(rest.sizeBytes, sizeBytes - sharedBytes);
    await rm(made.imagePath);
    await joinRest({ ...made, targetPath: made.joinedPath }, rest, sizeBytes, signal);
    assert.ok((await readFile(made.joinedPath)).equals(made.image));
  });
}

test('an image is not put together of a base that is shorter, nor of a cut rest', async () => {
  const shared = [{ offsetBytes: 10, sizeBytes: 2 * MiB, baseBytes: 7 * MiB }];
  const made = await makeImage([], 4 * MiB);
  await using _ = made.folder;
  const rest = await writeRest(made.imagePath, shared, made.restPath, signal);
  for (const path of ['joined-1', 'joined-2']) {
    const error = await failure(joinRest({ ...made, targetPath: made.folder.file(path) }, rest, 4 * MiB, signal));
    assert.is(error.code, 'image.truncated', path);
    await writeFile(made.basePath, randomBytes(10 * MiB));
    await writeFile(made.restPath, 'cut');
  }
});

test('of any runs, the long ones are kept, and each byte of an image is in one of them at most', () => {
  const run = fc.record({
    offsetBytes: fc.nat({ max: 9 * MiB }),
    sizeBytes: fc.nat({ max: 3 * MiB }),
    baseBytes: fc.nat({ max: 9 * MiB }),
  });
  holds(
    fc.property(fc.array(run, { maxLength: 20 }), (runs) => {
      const long = longRuns(runs);
      for (const [index, { offsetBytes, sizeBytes }] of long.entries()) {
        assert.ok(sizeBytes >= MiB);
        const before = long[index - 1];
        assert.ok(before === undefined || before.offsetBytes + before.sizeBytes <= offsetBytes);
      }
      assert.ok(long.length > 0 || runs.every(({ sizeBytes }) => sizeBytes < MiB));
    }),
  );
});

test.run();
