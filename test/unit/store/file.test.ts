import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { createLog } from '#lib/log.ts';
import { openFileObjects } from '#lib/store/file/file-objects.ts';
import { createFileStore } from '#lib/store/file/file-store.ts';
import { finishedBuild, MiB, quiet } from '../../conformance/finished-build.ts';
import { storeConformance } from '../../conformance/store.ts';
import { testWith } from '../with-programs.ts';

let root = '';
/** On another file system than the files that are put, so that these are copied. */
let store = '';

test.before(async () => {
  root = await mkdtemp(join(tmpdir(), 'file-store-'));
  store = await mkdtemp('/dev/shm/file-store-');
  await writeFile(join(root, 'file'), 'a file, not a folder');
});
test.after(async () => {
  for (const folder of [root, store]) await rm(folder, { recursive: true, force: true });
});

storeConformance(() => ({
  environment: { IMAGEBUILDER_STORE: 'file', IMAGEBUILDER_STORE_DIRECTORY: store },
  withoutRights: { IMAGEBUILDER_STORE_DIRECTORY: join(root, 'file') },
  secrets: [],
  imageBytes: 8 * MiB,
  middleBytes: 4 * MiB,
  everything: async () => (await readdir(store, { recursive: true })).sort(),
  read: ({ location }) => readFile(fileURLToPath(location)),
  lose: ({ location }) => rm(fileURLToPath(location)),
  loseImage: ({ location }) => rm(fileURLToPath(location)),
  async putForeign(buildId) {
    for (const folder of [buildId, 'notes']) {
      await mkdir(join(store, folder));
      await writeFile(join(store, folder, 'notes.txt'), 'of somebody else');
    }
    await writeFile(join(store, randomUUID()), 'a file that is named like a build');
  },
}));

test('an image is beside its SHA256SUMS, and image.json names no others where there are none', async () => {
  const build = await finishedBuild(root, { bytes: 9 });
  const { checksums, name } = build.image;
  await createFileStore(join(root, 'store')).put(...build.given, quiet);
  const read = (file: string) => readFile(join(root, 'store', build.buildId, file), 'utf8');
  assert.is(await read('SHA256SUMS'), `${checksums.sha256} *${name}\n`);
  assert.equal(JSON.parse(await read('image.json')), {
    ...{ name, size: 9, checksums, format: 'qcow2' },
    build: { ticket_id: 'T-77', series: 'noble', caller: 'lander' },
  });
});

/** Whether a file of the folder waits in memory for its place on the disk (delayed allocation). */
async function isOnlyInMemory(folder: string): Promise<boolean> {
  const paths = (await readdir(folder)).map((name) => join(folder, name));
  // It fails where the file system does not say where its files are.
  const { stdout } = await exec('filefrag', ['-v', ...paths], { okExitCodes: [0, 1] });
  return stdout.includes('delalloc');
}

testWith('filefrag')('when an image is in the store, all files of its folder are on the disk', async () => {
  const folder = join(root, 'flushed');
  const build = await finishedBuild(root, { bytes: 5000, others: { log: 'log', manifest: 'manifest' } });
  await createFileStore(folder).put(...build.given, quiet);
  assert.not.ok(await isOnlyInMemory(join(folder, build.buildId)));
});

testWith('filefrag')('files beside an image that is elsewhere are on the disk when they are put', async () => {
  const directory = join(root, 'flushed-objects');
  await mkdir(directory);
  const build = await finishedBuild(root, { bytes: 5000, others: { log: 'log', manifest: 'manifest' } });
  const [artifacts, origin] = build.given;
  await openFileObjects({ directory, readers: 'owner', log: createLog({ level: 'error' }) }).put(
    ...([`objects/${build.buildId}`, artifacts, origin, quiet] as const),
  );
  assert.not.ok(await isOnlyInMemory(join(directory, 'objects', build.buildId)));
});

test('the holes of a raw image stay holes on another file system', async () => {
  const build = await finishedBuild(root, { bytes: 9 });
  await truncate(build.image.path, 64 * MiB);
  const [given, ...rest] = build.given;
  const [image] = await createFileStore(store).put(
    [{ ...given[0], sizeBytes: 64 * MiB, format: 'raw' }],
    ...rest,
    quiet,
  );
  const { size, blocks } = await stat(fileURLToPath(image.location));
  assert.equal([image.format, size], ['raw', 64 * MiB]);
  assert.ok(blocks * 512 < MiB, `${blocks} blocks`);
});

test('an image that lost bytes is not found, and the next put replaces it', async () => {
  const files = createFileStore(join(root, 'store'));
  const build = await finishedBuild(root);
  const [image] = await files.put(...build.given, quiet);
  await writeFile(fileURLToPath(image.location), 'wh');
  assert.is(await files.find(build.buildId, quiet), null);
  const [again] = await files.put(...(await finishedBuild(root, { buildId: build.buildId, bytes: 11 })).given, quiet);
  assert.is(again.size, 11);
});

test('an attempt that still writes does not make the one that was faster fail', async () => {
  const files = createFileStore(store);
  const before = await readdir(store);
  for (let round = 0; round < 50; round += 1) {
    const others = { log: 'log', manifest: 'manifest', cyclonedx: 'cyclonedx' };
    const first = await finishedBuild(root, { bytes: 2000, others });
    const given = [
      first,
      ...(await Promise.all([1, 2].map(() => finishedBuild(root, { ...first, bytes: 2000, others })))),
    ];
    const put = async (build: typeof first, delayMs: number) => {
      await sleep(delayMs);
      await files.put(...build.given, quiet);
    };
    await Promise.all(given.map((build, index) => put(build, index === 0 ? 0 : (round * index) % 6)));
    await files.remove(first.buildId, quiet);
  }
  assert.equal(await readdir(store), before);
});

test('an aborted put of files that are moved leaves nothing', async () => {
  const files = createFileStore(join(root, 'aborted'));
  const abort = new AbortController();
  abort.abort(new Error('cancelled'));
  const put = files.put(...(await finishedBuild(root)).given, { ...quiet, signal: abort.signal });
  await put.then(
    () => assert.unreachable(),
    (error) => assert.is(error, abort.signal.reason),
  );
  assert.equal(await readdir(join(root, 'aborted')), []);
});

test.run();
