import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { openCache } from '#lib/fetch/cache.ts';
import { download } from '#lib/fetch/download.ts';
import { createHttpClient } from '#lib/http/client.ts';
import { createEgress } from '#lib/http/egress.ts';
import { createFileStore } from '#lib/store/file/file-store.ts';
import { listen } from '../../lab/servers/listen.ts';
import { finishedBuild, quiet } from '../conformance/finished-build.ts';
import { failure } from '../failure.ts';
import { imagebuilder } from './serve/command.ts';
import { MiB, smallDisks, startBuild, until, work, write } from './small-disks.ts';

/** Disk space, on file systems that are really that small. */

const never = new AbortController().signal;
const { fileSystem } = smallDisks();

test('a build that does not fit at the moment is refused before anything is written, with the folder and the numbers', async () => {
  const disk = await fileSystem(100);
  await write(join(disk, 'other'), 50);
  await using build = await startBuild(disk, 10);
  const error = await failure(build.space.claim(work(60)));
  assert.equal([error.code, error.fault, error.retryable], ['disk.full', 'service', true]);
  assert.match(
    error.message,
    /needs about 60\.0 MiB in .*\/work, where 50\.0 MiB are free, and IMAGEBUILDER_DISK_RESERVE keeps 10\.0 MiB free/,
  );
});

test('a build that would never fit is the fault of the service, which another try does not help', async () => {
  await using build = await startBuild(await fileSystem(50), 10);
  const error = await failure(build.space.claim(work(60)));
  assert.equal([error.code, error.fault, error.retryable], ['disk.small', 'service', false]);
});

test('build --here says of a disk that is full or small that it is a fault of this machine, and which folder it is', async () => {
  const full = await fileSystem(4);
  await writeFile(join(full, 'other'), Buffer.alloc(5 * MiB)).catch(() => {});
  const small = await fileSystem(100);
  const base = ['build', '--here', '--image-url', 'http://127.0.0.1:9/a.img', '--series', 'noble'];
  for (const [disk, message] of [
    [full, `  ${full}/work: 0 bytes of 4.0 MiB free`],
    [small, `${small}/work has only `],
  ] as const) {
    const { exitCode, stderr } = await imagebuilder(base, {
      env: {
        IMAGEBUILDER_WORK_DIRECTORY: join(disk, 'work'),
        IMAGEBUILDER_CACHE_DIRECTORY: join(disk, 'cache'),
        IMAGEBUILDER_STORE_DIRECTORY: join(disk, 'store'),
        IMAGEBUILDER_STORE: 'file',
        IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'true',
      },
    });
    assert.is(exitCode, 1, stderr);
    assert.ok(stderr.includes(message), stderr);
    assert.match(stderr, /\(disk\.(full|small)\)\n {2}That is a fault of this machine or of its settings/);
  }
});

test('of two builds that fit only one at a time the second waits, says so, and goes on when the first has ended', async () => {
  const disk = await fileSystem(100);
  const first = await startBuild(disk, 10);
  await first.space.claim(work(60));
  await using second = await startBuild(disk, 10);
  const claiming = second.space.claim(work(60)).then(() => 'claimed');
  await until(() => second.notices.length > 0);
  assert.match(second.notices[0] ?? '', /waiting for disk space: .*other builds still take 60\.0 MiB/);
  assert.is(await Promise.race([claiming, sleep(1500).then(() => 'waiting')]), 'waiting');
  await first[Symbol.asyncDispose]();
  assert.is(await claiming, 'claimed');
  assert.is(second.notices.length, 1);
});

test('bytes that a build has written by now are not counted twice', async () => {
  const disk = await fileSystem(100);
  await using first = await startBuild(disk, 10);
  await first.space.claim(work(50));
  await write(join(first.workDirectory, 'overlay.qcow2'), 50);
  await using second = await startBuild(disk, 10);
  await second.space.claim(work(39));
  assert.equal(second.notices, []);
});

test('the claim of a worker that has died does not count', async () => {
  const disk = await fileSystem(100);
  const dead = join(disk, 'work', 'build.dead00');
  await mkdir(dead);
  const { dev } = await stat(dead);
  await writeFile(join(dead, 'space.json'), JSON.stringify({ bytes: { [dev]: 90 * MiB }, usedBytes: 0 }));
  await using build = await startBuild(disk, 10);
  await build.space.claim(work(60));
});

test('the caches make room before a build is refused, but not with what a build is using', async () => {
  const disk = await fileSystem(100);
  const cache = await openCache(join(disk, 'cache', 'images'), Number.POSITIVE_INFINITY);
  const add = async (digit: string, sizeMiB: number) => {
    const part = cache.partPath();
    await write(part, sizeMiB);
    const sha256 = digit.repeat(64);
    const url = `http://x/${digit}`;
    const sizeBytes = sizeMiB * MiB;
    const served = { etag: '"x"', lastModified: null, origin: 'http://x', secure: false, validatedAtMs: Date.now() };
    await cache.add(part, { url, sha256, sizeBytes, ...served });
    return { url, sha256 };
  };
  const used = await add('a', 30);
  const unused = await add('b', 40);
  await using build = await startBuild(disk, 10);
  assert.ok(await cache.linkTo(used.sha256, join(build.workDirectory, 'base-image')));
  await build.space.claim(work(50));
  assert.is(await cache.find(unused.url), null);
  assert.is((await cache.find(used.url))?.sizeBytes, 30 * MiB);
  assert.is((await failure(build.space.claim(work(65)))).code, 'disk.full');
  assert.is((await cache.find(used.url))?.sizeBytes, 30 * MiB);
});

test('a build that takes more than it said is stopped when it reaches the reserve, and another goes on', async () => {
  const disk = await fileSystem(100);
  await using modest = await startBuild(disk, 30);
  await using greedy = await startBuild(disk, 30);
  await modest.space.claim(work(20));
  await greedy.space.claim(work(20));
  await write(join(modest.workDirectory, 'overlay.qcow2'), 15);
  await write(join(greedy.workDirectory, 'overlay.qcow2'), 62);
  await until(() => greedy.space.exhausted.aborted);
  const error = greedy.space.exhausted.reason as ImageBuilderError;
  assert.equal([error.code, error.fault], ['disk.full', 'service']);
  assert.match(
    error.message,
    /stopped before the disk was full: .*\/work has only 23\.\d MiB of 100\.0 MiB left.*this build has written 62\.\d MiB/,
  );
  await greedy[Symbol.asyncDispose]();
  await sleep(1200);
  assert.not(modest.space.exhausted.aborted);
});

test('a build is stopped for what it writes into other folders of its own, too', async () => {
  const disk = await fileSystem(100);
  await using modest = await startBuild(disk, 30);
  await using greedy = await startBuild(disk, 30);
  await modest.space.claim(work(20));
  await greedy.space.claim(work(20));
  const packages = join(disk, 'work', 'packages');
  await mkdir(packages);
  greedy.space.include(packages);
  await write(join(packages, 'large.deb'), 75);
  await until(() => greedy.space.exhausted.aborted);
  assert.match(greedy.space.exhausted.reason.message, /this build has written 75\.\d MiB/);
  await rm(packages, { recursive: true });
  await sleep(1200);
  assert.not(modest.space.exhausted.aborted);
});

test('where something else takes the last of the reserve, builds stop before the disk is full', async () => {
  const disk = await fileSystem(100);
  await using build = await startBuild(disk, 30);
  await build.space.claim(work(20));
  await write(join(disk, 'other'), 75);
  await sleep(1200);
  assert.not(build.space.exhausted.aborted, 'half of the reserve is there for that');
  await write(join(disk, 'more'), 15);
  await until(() => build.space.exhausted.aborted);
  assert.is((build.space.exhausted.reason as ImageBuilderError).code, 'disk.full');
});

test('a cache, a store and a work folder on file systems of their own are each weighed for what they take', async () => {
  const [first, second] = [await fileSystem(100), await fileSystem(40)];
  await using build = await startBuild(first, 10, {
    folders: { work: join(first, 'work'), cache: join(first, 'cache'), store: join(second, 'store') },
  });
  const { plan } = build.space;
  const need = plan.beforeRepack({ fileBytes: 20 * MiB, diskBytes: 40 * MiB, packedBytes: 20 * MiB }, 15 * MiB);
  assert.equal(need, { work: 35 * MiB, cache: 0, store: 35 * MiB });
  const error = await failure(build.space.claim(need));
  assert.match(error.message, `${second}/store`);
  await build.space.claim(plan.beforeUpload(25 * MiB));
});

test('a download onto a disk without room for it is reported as that, with the folder, whether its size is known or not', async () => {
  const disk = await fileSystem(80);
  await write(join(disk, 'other'), 76);
  const server = createServer((request, response) => {
    if (request.url === '/known') response.setHeader('content-length', 8 * MiB);
    else response.setHeader('transfer-encoding', 'chunked');
    response.end(Buffer.alloc(8 * MiB));
  });
  await using listening = await listen(server);
  const client = createHttpClient({
    egress: createEgress({ allowLoopback: true, allowedHosts: [] }),
    connectTimeoutMs: 5_000,
    stallTimeoutMs: 5_000,
    userAgent: 'test',
  });
  await using build = await startBuild(disk, 0);
  for (const path of ['known', 'unknown']) {
    const url = `${listening.url}/${path}`;
    const partPath = join(disk, 'cache', path);
    const thrown = await download({ url, partPath, client, signal: never, maximumBytes: 2 ** 30 }).catch(
      (error: unknown) => error,
    );
    const error = (await build.space.explain(thrown)) as ImageBuilderError;
    assert.equal([error.code, error.fault], ['disk.full', 'service'], String(thrown));
    assert.match(error.message, `in ${disk}/cache`);
    await rm(partPath, { force: true });
  }
  client[Symbol.dispose]();
});

test('an image that does not fit into the store’s folder is reported as that', async () => {
  const [disk, full] = [await fileSystem(20), await fileSystem(4)];
  const build = await finishedBuild(join(disk, 'work'), { bytes: 8 * MiB });
  const error = await failure(createFileStore(join(full, 'store')).put(...build.given, quiet));
  assert.is(error.code, 'disk.full');
  assert.match(error.message, join(full, 'store'));
});

test('an error inside an image is a consequence of a disk that is full at that moment', async () => {
  const disk = await fileSystem(50);
  await using build = await startBuild(disk, 0);
  await write(join(disk, 'other'), 40);
  const unsupported = new ImageBuilderError('image.unsupported', 'the image cannot be made ready for changes');
  assert.is(((await build.space.explain(unsupported)) as ImageBuilderError).code, 'disk.full');
});

test('other errors are left as they are', async () => {
  await using build = await startBuild(await fileSystem(50), 10);
  const error = new ImageBuilderError('apt.package', 'no such package');
  assert.is(await build.space.explain(error), error);
  await readFile(join(build.workDirectory, 'missing')).catch(async (missing: unknown) => {
    assert.is(await build.space.explain(missing), missing);
  });
});

test.run();
