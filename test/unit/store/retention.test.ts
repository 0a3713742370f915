import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#lib/log.ts';
import { openFileObjects } from '#lib/store/file/file-objects.ts';
import { createFileStore } from '#lib/store/file/file-store.ts';
import { openRetention } from '#lib/store/file/open-retention.ts';
import { applyRetention, type RetentionOptions } from '#lib/store/file/retention.ts';
import { imageFilesOf } from '#lib/store/glance/image-files.ts';
import { openLogs } from '#lib/store/logs.ts';
import { finishedBuild, finishedLog, MiB, quiet } from '../../conformance/finished-build.ts';

const hourMs = 3_600_000;
let root: string;
test.before(async () => {
  root = await mkdtemp(join(tmpdir(), 'retention-'));
});
test.after(() => rm(root, { recursive: true, force: true }));

async function open() {
  const directory = await mkdtemp(join(root, 'store-'));
  const store = createFileStore(directory);
  const lines: string[] = [];
  const unfinished = new Set<string>();
  const options = {
    ...{ directory, maximumBytes: null as number | null, maximumAgeMs: null as number | null },
    isUnfinished: (buildId: string) => unfinished.has(buildId),
    isGone: null as RetentionOptions['isGone'],
    log: createLog({ level: 'debug', write: (line) => lines.push(line) }),
  };
  const age = async (path: string, hours: number) => {
    const time = new Date(Date.now() - hours * hourMs);
    await utimes(path, time, time);
  };
  return {
    ...{ directory, store, options, unfinished, age },
    async image(hours: number, bytes = MiB) {
      const build = await finishedBuild(root, { bytes, others: { manifest: 'a' } });
      await store.put(...build.given, quiet);
      await age(join(directory, build.buildId, 'image.json'), hours);
      return build.buildId;
    },
    async log(hours: number) {
      const buildId = randomUUID();
      const { log, origin } = await finishedLog(root, buildId, 'the log\n');
      await store.keepLog(log, origin, quiet);
      await age(join(directory, buildId, 'log.json'), hours);
      return buildId;
    },
    /** All names but that of the lock. */
    names: async () => (await readdir(directory)).filter((name) => name !== '.retention.lock').sort(),
    removed: () =>
      lines
        .map((line) => JSON.parse(line))
        .filter(({ message }) => message === 'a build was removed from the file store')
        .map(({ build_id, reason }) => [build_id, reason]),
    lines,
  };
}

test('without limits nothing is removed, and no lock is left', async () => {
  const { image, options, directory } = await open();
  const old = await image(10_000);
  await applyRetention(options);
  assert.equal(await readdir(directory), [old]);
});

test('what is too old is removed, the oldest first, logs too; what runs, what is young and what is of others stays', async () => {
  const { image, log, options, unfinished, directory, names, removed, age } = await open();
  const [older, oldLog, running, young] = [await image(300), await log(200), await image(400), await image(99)];
  unfinished.add(running);
  const foreign = randomUUID();
  await mkdir(join(directory, foreign));
  await writeFile(join(directory, foreign, 'notes'), 'of somebody else');
  await age(join(directory, foreign), 1000);
  await applyRetention({ ...options, maximumAgeMs: 100 * hourMs });
  assert.equal(await names(), [running, young, foreign].sort());
  assert.equal(removed(), [
    [older, 'age'],
    [oldLog, 'age'],
  ]);
});

test('logs beside images in Glance count too, and the files beside such an image go once it is gone, unless its build runs', async () => {
  const { options, directory, removed, unfinished, lines, age } = await open();
  const objects = openFileObjects({ directory, readers: 'owner', log: options.log });
  const logs = openLogs(objects);
  const { log, origin } = await finishedLog(root, randomUUID(), 'the log\n');
  await logs.keep(log, origin, quiet);
  const putBeside = async (imageId: string) => {
    const [[, manifest], about] = (await finishedBuild(root, { bytes: 9, others: { manifest: 'a' } })).given;
    assert.ok(manifest);
    await objects.put(imageFilesOf(about.buildId, imageId), [manifest], about, quiet);
    return { buildId: about.buildId, folder: imageFilesOf(about.buildId, imageId) };
  };
  const [there, gone, goneRecently, goneRunning] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
  const [kept, lost, recent, running] = await Promise.all([there, gone, goneRecently, goneRunning].map(putBeside));
  assert.ok(kept && lost && recent && running);
  unfinished.add(running.buildId);
  for (const folder of [`logs/${origin.buildId}`, kept.folder, lost.folder, running.folder]) {
    await age(join(directory, folder, 'others.json'), 300);
  }
  const limits = { ...options, maximumAgeMs: 100 * hourMs };
  await applyRetention({ ...limits, isGone: () => Promise.reject(new Error('Glance is away')) });
  await applyRetention(limits);
  assert.equal(removed(), [[origin.buildId, 'age']]);
  assert.match(lines.join('\n'), 'Glance does not say whether an image is there');

  const asked: string[] = [];
  const isGone = async (imageId: string) => {
    asked.push(imageId);
    return imageId !== there;
  };
  await applyRetention({ ...limits, isGone });
  assert.equal(removed().slice(1), [[lost.buildId, 'age']]);
  assert.equal(asked.sort(), [there, gone].sort());
  for (const { folder } of [kept, recent, running]) assert.is((await objects.look(folder, quiet)).length, 1);
  assert.equal(await objects.look(lost.folder, quiet), []);
});

test('what is too much is removed, the oldest first, until the rest is small enough', async () => {
  const { image, options, names, removed } = await open();
  const [second, newest, oldest] = [await image(20), await image(10), await image(30)];
  await applyRetention({ ...options, maximumBytes: 2.5 * MiB });
  assert.equal(removed(), [[oldest, 'size']]);
  await applyRetention({ ...options, maximumBytes: 2.5 * MiB });
  assert.equal(await names(), [second, newest].sort());
});

test('an image of the last hour stays although the store is too large, and a warning says so', async () => {
  const { image, options, names, lines } = await open();
  const [older, recent] = [await image(2), await image(0.9)];
  await applyRetention({ ...options, maximumBytes: MiB / 2, maximumAgeMs: hourMs / 2 });
  assert.equal(await names(), [recent]);
  assert.not.equal(older, recent);
  assert.match(lines.at(-1) ?? '', 'the file store is larger than IMAGEBUILDER_STORE_SIZE');
});

test('workers that share the folder remove each build once', async () => {
  const { image, options, names, removed } = await open();
  const old: string[] = [];
  for (let count = 0; count < 5; count += 1) old.push(await image(300 + count));
  const limits = { ...options, maximumAgeMs: 100 * hourMs };
  await Promise.all([1, 2, 3].map(() => applyRetention(limits)));
  await applyRetention(limits);
  assert.equal(await names(), []);
  assert.equal(
    removed().map(([buildId]) => buildId),
    old.toReversed(),
  );
});

test('what dead workers left unfinished is removed after a day', async () => {
  const { options, directory, names, age, unfinished } = await open();
  const [dead, alive, recent] = [randomUUID(), randomUUID(), randomUUID()].map((id) => `.incoming-${id}.abc`);
  unfinished.add((alive ?? '').slice('.incoming-'.length, -'.abc'.length));
  for (const name of [dead, alive, recent]) await mkdir(join(directory, name ?? ''));
  for (const name of [dead, alive]) await age(join(directory, name ?? ''), 25);
  await applyRetention({ ...options, maximumBytes: MiB });
  assert.equal(await names(), [alive, recent].sort());
});

test('calls while it is applied have it applied once more, a store without a folder is no fault, and closing waits for it', async () => {
  const { image, options, names, lines } = await open();
  await image(300);
  const missing = openRetention({ ...options, directory: join(root, 'missing'), maximumAgeMs: hourMs });
  missing.apply();
  await missing[Symbol.asyncDispose]();
  assert.equal([lines, (await readdir(root)).includes('missing')], [[], false]);
  const retention = openRetention({ ...options, maximumAgeMs: hourMs });
  for (let calls = 0; calls < 3; calls += 1) retention.apply();
  await retention[Symbol.asyncDispose]();
  assert.equal(await names(), []);
});

test.run();
