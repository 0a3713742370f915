import { mkdir, mkdtemp, readdir, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#lib/log.ts';
import { openWorkDirectory, sweepWorkDirectories } from '#lib/pipeline/work-directory.ts';

let root = '';
test.before.each(async () => {
  root = await mkdtemp(join(tmpdir(), 'work-'));
});
test.after.each(() => rm(root, { recursive: true, force: true }));

const sweep = (beforeRemoval = async (_path: string) => {}) =>
  sweepWorkDirectories(root, { beforeRemoval, log: createLog({ write: () => {} }) });

test('a work directory is empty, this attempt’s alone, and gone afterwards', async () => {
  {
    await using first = await openWorkDirectory(root, 'build-1');
    await writeFile(join(first.path, 'base-image'), 'bytes');
    await using second = await openWorkDirectory(root, 'build-1');
    assert.equal(await readdir(second.path), []);
    assert.equal((await readdir(root)).length, 2);
  }
  assert.equal(await readdir(root), []);
});

test('below a symbolic link, a build and the sweep after it have the same path, without the link', async () => {
  const link = join(root, 'link');
  await mkdir(join(root, 'real'));
  await symlink(join(root, 'real'), link);
  const work = await openWorkDirectory(link, 'build-1', { keep: true });
  assert.is(work.path, await realpath(work.path));
  await work[Symbol.asyncDispose]();
  const swept: string[] = [];
  const beforeRemoval = async (path: string) => void swept.push(path);
  await sweepWorkDirectories(link, { beforeRemoval, log: createLog({ write: () => {} }) });
  assert.equal(swept, [work.path]);
});

test('a sweep between the making of a work directory and its lock does no harm', async () => {
  let opened = false;
  const sweeping = (async () => {
    while (!opened) await sweep();
  })();
  for (let count = 0; count < 5; count += 1) {
    await using work = await openWorkDirectory(root, 'build-1');
    await writeFile(join(work.path, 'base-image'), 'bytes');
    await sleep(20);
    assert.equal(await readdir(work.path), ['base-image']);
  }
  opened = true;
  await sweeping;
});

test('a sweep leaves a running build alone, however long it has been running', async () => {
  await using work = await openWorkDirectory(root, 'build-1');
  await writeFile(join(work.path, 'base-image'), 'bytes');
  // Longer than any wait that taking the lock could have been given.
  await sleep(1_000);
  await sweep();
  assert.equal(await readdir(work.path), ['base-image']);
});

test('a sweep ends and removes what dead workers left, and keeps what cannot be ended', async () => {
  await mkdir(join(root, 'dead'));
  await mkdir(join(root, 'stuck'));
  const asked: string[] = [];
  await sweep(async (path) => {
    asked.push(path);
    if (path.endsWith('stuck')) throw new Error('processes in D state');
  });
  assert.equal(asked.sort(), [join(root, 'dead'), join(root, 'stuck')]);
  assert.equal(await readdir(root), ['stuck']);
});

test('a sweep of a folder that is not there does nothing', async () => {
  await rm(root, { recursive: true });
  await sweep();
});

test.run();
