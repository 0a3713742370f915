import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { createFileStore } from '#lib/store/file/file-store.ts';
import type { FinishedImage } from '#lib/store/store.ts';

const buildId = '0f3c2d1e-7a58-4c7b-9a3b-6a5f0f1e2d3c';
let root = '';

test.before.each(async () => {
  root = await mkdtemp(join(tmpdir(), 'file-store-'));
});
test.after.each(() => rm(root, { recursive: true, force: true }));

async function finished(content: string): Promise<FinishedImage> {
  const path = join(root, `made-${createHash('md5').update(content).digest('hex')}`);
  await writeFile(path, content);
  const digest = (algorithm: string) => createHash(algorithm).update(content).digest('hex');
  return {
    buildId,
    ticketId: 'T-77',
    name: 'trusty-T-77.qcow2',
    path,
    sizeBytes: content.length,
    checksums: { sha256: digest('sha256'), sha512: digest('sha512') },
    format: 'qcow2',
    series: 'trusty',
    baseImageSha256: digest('sha256'),
    architecture: 'amd64',
    distribution: 'ubuntu',
    distributionVersion: '14.04',
  };
}

const quiet = () => ({ signal: new AbortController().signal, onProgress: () => {} });

test('an image put is found again, with its bytes, size and digests', async () => {
  const store = createFileStore(join(root, 'store'));
  const stored = await store.put(await finished('the image'), quiet());
  assert.is(await readFile(fileURLToPath(stored.location), 'utf8'), 'the image');
  assert.equal(await store.find(buildId, quiet()), stored);
  assert.is(stored.size, 9);
  const sums = await readFile(join(root, 'store', buildId, 'SHA256SUMS'), 'utf8');
  assert.is(sums, `${stored.checksums.sha256} *trusty-T-77.qcow2\n`);
});

test('putting the same build again gives the image that is there', async () => {
  const store = createFileStore(join(root, 'store'));
  const first = await store.put(await finished('the first'), quiet());
  const second = await store.put(await finished('the second, of other bytes'), quiet());
  assert.equal(second, first);
});

test('an image that lost bytes is not found, and the next put replaces it', async () => {
  const store = createFileStore(join(root, 'store'));
  const first = await store.put(await finished('whole'), quiet());
  await writeFile(fileURLToPath(first.location), 'wh');
  assert.is(await store.find(buildId, quiet()), null);
  const second = await store.put(await finished('whole again'), quiet());
  assert.is(second.size, 11);
});

test('two attempts that put at the same time end with one image, the same for both', async () => {
  const store = createFileStore(join(root, 'store'));
  const images = [await finished('of attempt one'), await finished('of attempt two, of other bytes')];
  const [one, two] = await Promise.all(images.map((image) => store.put(image, quiet())));
  const there = await store.find(buildId, quiet());
  assert.ok(there !== null && [one, two].some((stored) => stored?.size === there.size));
  assert.equal(await readdir(join(root, 'store')), [buildId]);
});

test('an aborted put leaves nothing', async () => {
  const store = createFileStore(join(root, 'store'));
  const abort = new AbortController();
  abort.abort(new ImageBuilderError('build.cancelled', 'cancelled'));
  const image = await finished('the image');
  try {
    await store.put(image, { signal: abort.signal, onProgress: () => {} });
    assert.unreachable();
  } catch (error) {
    assert.is((error as ImageBuilderError).code, 'build.cancelled');
  }
  assert.equal(await readdir(join(root, 'store')), []);
});

test('a store directory that cannot be written is store.failed and names the directory', async () => {
  await writeFile(join(root, 'store'), 'a file, not a folder');
  const store = createFileStore(join(root, 'store'));
  try {
    await store.put(await finished('the image'), quiet());
    assert.unreachable();
  } catch (error) {
    assert.is((error as ImageBuilderError).code, 'store.failed');
    assert.match((error as ImageBuilderError).message, join(root, 'store'));
  }
});

test('discard removes what an unfinished put left', async () => {
  const store = createFileStore(join(root, 'store'));
  await mkdir(join(root, 'store', `.incoming-${buildId}.x1y2z3`), { recursive: true });
  await store.discard(buildId);
  await store.discard(buildId);
  assert.equal(await readdir(join(root, 'store')), []);
});

test.run();
