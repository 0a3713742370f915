import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { forgetDamagedImage, recordSoundImage } from '#lib/fetch/base-image.ts';
import { type BaseImageOptions, fetchBaseImages } from '#lib/fetch/base-images.ts';
import { imageKinds } from '#lib/kinds/index.ts';
import {
  type ServedFile,
  serveFile,
  startFileServer,
  startServer,
  temporaryFolder,
  testClient,
  testIds,
} from './with-server.ts';

/** Enough of a qcow2 image (version 3) to be recognised as one. */
function qcow2(sizeBytes = 100_000): Buffer {
  return Buffer.concat([Buffer.from('QFI\xfb\0\0\0\x03', 'latin1'), randomBytes(sizeBytes - 8)]);
}

/** A raw disk with an MBR that has one Linux partition. */
function rawDisk(): Buffer {
  const disk = Buffer.alloc(100_000);
  disk.writeUInt8(0x83, 450);
  disk.writeUInt32LE(2048, 454);
  disk.writeUInt32LE(4096, 458);
  disk.writeUInt16LE(0xaa55, 510);
  return disk;
}

function kernel(): Buffer {
  const image = rawDisk();
  image.write('HdrS', 514, 'latin1');
  return image;
}

const sha256 = (content: Buffer) => createHash('sha256').update(content).digest('hex');
const text = (content: string): ServedFile => ({ content: Buffer.from(content), etag: `"${content.length}"` });

/** `/disk.img`, and a SHA256SUMS beside it. */
const vouchedFor = (image: Buffer) => ({
  '/SHA256SUMS': text(`${sha256(image)} *disk.img\n`),
  '/disk.img': { content: image },
});

/** Fetches several times with one cache; `run` resolves with the image, or the error. */
async function workshop() {
  const folder = await temporaryFolder();
  const client = testClient({ retry: { attempts: 2 } });
  const notices: string[] = [];
  let count = 0;
  return {
    folder: folder.path,
    client,
    notices,
    async run(urlList: readonly string[], overrides: Partial<BaseImageOptions> = {}) {
      count += 1;
      const workDirectory = join(folder.path, `work${count}`);
      await mkdir(workDirectory);
      const [image] = await fetchBaseImages({
        urlList,
        client,
        cacheDirectory: join(folder.path, 'cache'),
        wanted: imageKinds.cloud.baseFile,
        cacheBytes: 10_000_000,
        maximumBytes: 10_000_000,
        workDirectory,
        unprivilegedIds: testIds,
        signal: new AbortController().signal,
        onNotice: (message) => notices.push(message),
        ...overrides,
      });
      return image;
    },
    async fail(urlList: readonly string[], overrides: Partial<BaseImageOptions> = {}) {
      try {
        await this.run(urlList, overrides);
      } catch (error) {
        return error as Error & { code: string };
      }
      throw new Error('expected a failure');
    },
    async [Symbol.asyncDispose]() {
      client[Symbol.dispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Shows an image at once, and sends it a byte now and then to a client that wants all of it. */
async function startDrip(image: Buffer, sums: ServedFile) {
  let count = 0;
  let change = Promise.withResolvers<void>();
  const server = await startServer((request, response) => {
    const path = new URL(request.url ?? '', 'http://x').pathname;
    if (path === '/SHA256SUMS') return void serveFile(request, response, sums);
    if (path === '/wrong/SHA256SUMS') return void response.end(`${'0'.repeat(64)} *disk.img\n`);
    if (request.headers.range?.endsWith('-') === false) {
      return void serveFile(request, response, { content: image, etag: '"1"' });
    }
    response.writeHead(200, { 'content-length': image.length, etag: '"1"' });
    response.write(image.subarray(0, 1000), () => {
      count += 1;
      change.resolve();
    });
  });
  return {
    url: server.url,
    /** Resolves when so many downloads drip. */
    async begun(wanted: number) {
      while (count < wanted) {
        await change.promise;
        change = Promise.withResolvers();
      }
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** `url` with a query that gives it the lock of `other` where both have the digest: one in 4,096 does. */
function sameLock(url: string, other: string, digest: string): string {
  const lockOf = (candidate: string) => sha256(Buffer.from(`${candidate} ${digest}`)).slice(0, 3);
  for (let number = 0; ; number += 1) {
    const candidate = `${url}?${number}`;
    if (lockOf(candidate) === lockOf(other)) return candidate;
  }
}

test('the image is found by content among sums, manifest, kernel and squashfs, and verified', async () => {
  const image = qcow2();
  await using server = await startFileServer({
    '/SHA256SUMS': text(`${'0'.repeat(64)} *other.img\n${sha256(image)} *trusty.img\n`),
    '/SHA256SUMS.gpg': text('-----BEGIN PGP SIGNATURE-----\n'),
    '/trusty.manifest': text('adduser\t3.113\napt\t1.0.1\n'),
    '/vmlinuz': { content: kernel() },
    '/trusty.squashfs': { content: Buffer.from(`hsqs${'x'.repeat(2000)}`) },
    '/trusty.img': { content: image, etag: '"i"' },
  });
  await using shop = await workshop();
  const names = ['SHA256SUMS', 'SHA256SUMS.gpg', 'trusty.manifest', 'vmlinuz', 'trusty.squashfs', 'trusty.img'];
  const result = await shop.run(names.map((name) => `${server.url}/${name}`));
  assert.is(result.url, `${server.url}/trusty.img`);
  assert.is(result.sha256, sha256(image));
  assert.is(result.sizeBytes, image.length);
  assert.equal([result.verifiedBy, result.checksumsUrl], ['checksums_over_http', `${server.url}/SHA256SUMS`]);
  assert.is(result.fromCache, false);
  assert.equal(await readFile(result.path), image);
});

test('a raw disk is an image whatever its name, and SHA256SUMS beside it is honoured', async () => {
  const image = rawDisk();
  await using server = await startFileServer({
    '/a/SHA256SUMS': text(`${sha256(image).toUpperCase()}  ./disk\n`),
    '/a/disk': { content: image },
  });
  await using shop = await workshop();
  assert.is((await shop.run([`${server.url}/a/disk`])).checksumsUrl, `${server.url}/a/SHA256SUMS`);
});

test('without any SHA256SUMS the image is taken', async () => {
  await using server = await startFileServer({ '/disk.img': { content: qcow2() } });
  await using shop = await workshop();
  assert.is((await shop.run([`${server.url}/disk.img`])).checksumsUrl, null);
});

test('a second build from the same URL gets the image from the cache as a hard link', async () => {
  const image = qcow2();
  await using server = await startFileServer(vouchedFor(image));
  await using shop = await workshop();
  const first = await shop.run([`${server.url}/disk.img`]);
  const before = server.requests.length;
  const progress: (number | null)[][] = [];
  const second = await shop.run([`${server.url}/disk.img`], {
    onProgress: (current, total) => progress.push([current, total]),
  });
  assert.is(second.fromCache, true);
  assert.is((await stat(second.path)).ino, (await stat(first.path)).ino);
  assert.equal(server.requests.slice(before), ['GET /disk.img', 'GET /SHA256SUMS']);
  assert.ok(server.headers[before]?.range);
  assert.equal(progress, [[image.length, image.length]]);
});

test('without a digest the cache is used while the validators are the same, and never without any', async () => {
  const files: Record<string, ServedFile> = {
    '/tagged.img': { content: qcow2(), etag: '"1"' },
    '/dated.img': { content: qcow2(), lastModified: 'Mon, 01 Jan 2024 00:00:00 GMT' },
    '/bare.img': { content: qcow2() },
  };
  await using server = await startFileServer(files);
  await using shop = await workshop();
  const run = async (name: string) => (await shop.run([server.url + name])).fromCache;
  for (const name of ['/tagged.img', '/dated.img', '/bare.img']) assert.is(await run(name), false);
  assert.equal([await run('/tagged.img'), await run('/dated.img'), await run('/bare.img')], [true, true, false]);
  files['/tagged.img'] = { content: qcow2(), etag: '"2"' };
  assert.is(await run('/tagged.img'), false);
  assert.is(await run('/tagged.img'), true);
});

test('a wrong digest fails, naming both, unless a mirror has the right content', async () => {
  const image = qcow2();
  const wrong = Buffer.concat([image.subarray(0, -1), Buffer.from([255 - (image.at(-1) ?? 0)])]);
  await using server = await startFileServer({
    '/SHA256SUMS': text(`${sha256(image)} *disk.img\n`),
    '/disk.img': { content: wrong },
    '/mirror/disk.img': { content: image },
  });
  await using shop = await workshop();
  const error = await shop.fail([`${server.url}/disk.img`]);
  assert.is(error.code, 'image.checksum');
  assert.match(error.message, sha256(image));
  assert.match(error.message, sha256(wrong));
  assert.equal(await readdir(join(shop.folder, 'cache/images/blobs')), []);
  assert.equal(await readdir(join(shop.folder, 'cache/images/parts')), []);
  const result = await shop.run([`${server.url}/disk.img`, `${server.url}/mirror/disk.img`]);
  assert.is(result.url, `${server.url}/mirror/disk.img`);
});

test('mirrors under the same name go on where the first one fails', async () => {
  const image = qcow2(200_000);
  await using broken = await startServer((request, response) => {
    if (request.headers.range?.startsWith('bytes=0-') === true) serveFile(request, response, { content: image });
    else response.writeHead(503).end();
  });
  await using good = await startFileServer({ '/x/disk.img': { content: image } });
  await using shop = await workshop();
  const result = await shop.run([`${broken.url}/disk.img`, `${good.url}/x/disk.img`]);
  assert.is(result.url, `${good.url}/x/disk.img`);
  assert.match(shop.notices.join(), 'trying the next mirror');
});

test('an unreachable URL is passed over when another serves the image', async () => {
  await using server = await startFileServer({ '/disk.img': { content: qcow2() } });
  await using shop = await workshop();
  await shop.run(['http://169.254.169.254/disk.img', `${server.url}/gone.img`, `${server.url}/disk.img`]);
  assert.match(shop.notices.join(), 'refused by the egress rules');
  assert.match(shop.notices.join(), 'gone.img answered 404');
});

test('two different images are refused, naming both', async () => {
  await using server = await startFileServer({
    '/one.img': { content: qcow2() },
    '/two.img': { content: rawDisk() },
    '/a/one.img': { content: qcow2(90_000) },
  });
  await using shop = await workshop();
  for (const other of ['/two.img', '/a/one.img']) {
    const error = await shop.fail([`${server.url}/one.img`, server.url + other]);
    assert.is(error.code, 'image.unsupported');
    assert.match(error.message, '/one.img (a qcow2 image, 100000 bytes)');
    assert.match(error.message, other);
  }
});

test('a file that is no image is named with its format', async () => {
  const iso = Buffer.alloc(40_000);
  iso.write('CD001', 32769);
  const files: Record<string, [Buffer, string]> = {
    '/a.iso': [iso, 'an ISO 9660 image'],
    '/a.7z': [Buffer.from('377abcaf271c', 'hex'), 'a 7z archive'],
    '/index.html': [Buffer.from('<!DOCTYPE html><html>'), 'a web page'],
    '/empty': [Buffer.alloc(0), 'an empty file'],
    '/SHA256SUMS': [Buffer.from(`${'a'.repeat(64)} *x\n`), 'a list of checksums'],
    '/vmlinuz': [kernel(), 'a Linux kernel'],
    '/old.qcow': [Buffer.from('QFI\xfb\0\0\0\x01', 'latin1'), 'a qcow image of version 1'],
    '/random': [randomBytes(50_000), 'a file of no known kind'],
  };
  await using server = await startServer((request, response) => {
    serveFile(request, response, { content: files[request.url ?? '']?.[0] ?? Buffer.alloc(0) });
  });
  await using shop = await workshop();
  const error = await shop.fail(Object.keys(files).map((path) => server.url + path));
  assert.is(error.code, 'image.unsupported');
  for (const [path, [, name]] of Object.entries(files)) assert.match(error.message, `${path} (${name},`);
});

test('a wrapped image is taken where no URL serves an image plainly, and the advice for other files is said', async () => {
  const wrapped = { content: Buffer.from('\xfd7zXZ\0 and more', 'latin1'), etag: '"1"' };
  await using server = await startFileServer({
    '/disk.img': { content: qcow2(), etag: '"1"' },
    '/disk.tar.xz': wrapped,
    '/disk.vmdk': { content: Buffer.from('KDMV and more'), etag: '"1"' },
    '/disk.7z': { content: Buffer.from('377abcaf271c00', 'hex'), etag: '"1"' },
  });
  await using shop = await workshop();
  const urls = (...names: readonly string[]) => names.map((name) => `${server.url}/${name}`);
  assert.match((await shop.run(urls('disk.tar.xz', 'disk.vmdk', 'disk.img'))).url, /disk\.img$/);
  assert.match((await shop.run(urls('disk.tar.xz', 'disk.7z'))).url, /disk\.tar\.xz$/);
  assert.match((await shop.fail(urls('disk.tar.xz', 'disk.vmdk'))).message, 'two different images');
  const { message } = await shop.fail(urls('disk.7z'));
  assert.match(message, 'disk.7z (a 7z archive, 7 bytes): unpack it first');
});

test('nothing there at all is image.not_found, and a server that is down is its own fault', async () => {
  await using server = await startServer((request, response) => {
    response.writeHead(request.url === '/down' ? 500 : request.url === '/shut' ? 403 : 404).end();
  });
  await using shop = await workshop();
  assert.is((await shop.fail([`${server.url}/a`, `${server.url}/b`])).code, 'image.not_found');
  assert.is((await shop.fail([`${server.url}/a`, `${server.url}/down`])).code, 'upstream.status');
  assert.is((await shop.fail([`${server.url}/shut`])).code, 'upstream.forbidden');
  assert.is((await shop.fail(['http://169.254.169.254/'])).code, 'egress.refused');
});

test('two builds of one process at once download the image once', async () => {
  const image = qcow2();
  await using server = await startFileServer(vouchedFor(image));
  await using shop = await workshop();
  const results = await Promise.all([1, 2, 3].map(() => shop.run([`${server.url}/disk.img`])));
  assert.equal(results.map(({ fromCache }) => fromCache).sort(), [false, true, true]);
  assert.is(server.headers.filter((headers) => headers.range === undefined).length, 4); // 3 times SHA256SUMS
});

test('two processes at once download the image once', async () => {
  const image = qcow2();
  await using server = await startServer((request, response) => {
    const file = request.url === '/disk.img' ? { content: image, etag: '"1"' } : null;
    if (file === null) response.writeHead(404).end();
    // The download itself is slow, so that the other process comes upon it.
    else setTimeout(() => serveFile(request, response, file), request.headers.range === undefined ? 300 : 0);
  });
  await using folder = await temporaryFolder();
  const script = join(import.meta.dirname, 'base-image-process.ts');
  const outputs = await Promise.all(
    ['one', 'two'].map(async (name) => {
      await mkdir(join(folder.path, name));
      const args = [script, `${server.url}/disk.img`, join(folder.path, 'cache'), join(folder.path, name)];
      const { stdout } = await exec(process.execPath, args);
      return JSON.parse(stdout) as { fromCache: boolean; path: string };
    }),
  );
  assert.equal(outputs.map(({ fromCache }) => fromCache).sort(), [false, true]);
  for (const { path } of outputs) assert.equal(await readFile(path), image);
  assert.is(
    server.requests.filter((request, index) => request === 'GET /disk.img' && !server.headers[index]?.range).length,
    1,
  );
});

test('an image that was changed in the cache is fetched anew', async () => {
  const image = qcow2();
  await using server = await startFileServer(vouchedFor(image));
  await using shop = await workshop();
  const { path } = await shop.run([`${server.url}/disk.img`]);
  await writeFile(path, 'overwritten');
  const again = await shop.run([`${server.url}/disk.img`]);
  assert.is(again.fromCache, false);
  assert.equal(await readFile(again.path), image);
});

test('an image that proves to be damaged is fetched anew, unless a SHA256SUMS vouches for it', async () => {
  const files: Record<string, ServedFile> = { '/a.img': { content: qcow2(), etag: '"same"' } };
  await using server = await startFileServer(files);
  await using shop = await workshop();
  const cache = { cacheDirectory: join(shop.folder, 'cache'), cacheBytes: 10_000_000 };
  const damaged = await shop.run([`${server.url}/a.img`]);
  assert.is((await shop.run([`${server.url}/a.img`])).fromCache, true);
  await forgetDamagedImage(damaged, cache);
  const sound = qcow2();
  files['/a.img'] = { content: sound, etag: '"same"' };
  const { path, fromCache } = await shop.run([`${server.url}/a.img`]);
  assert.is(fromCache, false);
  assert.equal(await readFile(path), sound);

  files['/SHA256SUMS'] = text(`${sha256(sound)} *a.img\n`);
  await forgetDamagedImage(await shop.run([`${server.url}/a.img`]), cache);
  assert.is((await shop.run([`${server.url}/a.img`])).fromCache, true);
});

test('an image that was read without damage is known as that, as long as it is the same', async () => {
  const files: Record<string, ServedFile> = { '/a.img': { content: qcow2(), etag: '"same"' } };
  await using server = await startFileServer(files);
  await using shop = await workshop();
  const fetched = await shop.run([`${server.url}/a.img`]);
  assert.is(fetched.isSound, false);
  const cache = { cacheDirectory: join(shop.folder, 'cache'), cacheBytes: 10_000_000 };
  await recordSoundImage({ ...fetched, sha256: '0'.repeat(64) }, cache);
  assert.is((await shop.run([`${server.url}/a.img`])).isSound, false, 'another image was read');
  await recordSoundImage(fetched, cache);
  const { isSound, fromCache } = await shop.run([`${server.url}/a.img`]);
  assert.equal([isSound, fromCache], [true, true]);
  files['/a.img'] = { content: qcow2(), etag: '"other"' };
  assert.is((await shop.run([`${server.url}/a.img`])).isSound, false);
});

test('an image larger than the cache is used all the same, and not kept', async () => {
  await using server = await startFileServer({ '/disk.img': { content: qcow2(), etag: '"1"' } });
  await using shop = await workshop();
  const result = await shop.run([`${server.url}/disk.img`], { cacheBytes: 1000 });
  assert.is((await readFile(result.path)).length, 100_000);
  assert.equal(await readdir(join(shop.folder, 'cache/images/blobs')), []);
});

test('while a server stalls, the reported progress is all that has come in', async () => {
  const image = qcow2();
  const goOn = Promise.withResolvers<boolean>();
  await using server = await startServer((request, response) => {
    if (request.url !== '/disk.img') return void response.writeHead(404).end();
    response.writeHead(200, { 'content-length': image.length });
    if (request.method === 'HEAD') return void response.end();
    // In two parts, so that the second one comes right after the first progress report.
    response.write(image.subarray(0, 30_000));
    setTimeout(() => response.write(image.subarray(30_000, 60_000)), 20);
    void goOn.promise.then(() => response.end(image.subarray(60_000)));
  });
  await using shop = await workshop();
  const late = setTimeout(() => goOn.resolve(false), 5000);
  await shop.run([`${server.url}/disk.img`], {
    onProgress: (currentBytes) => currentBytes === 60_000 && goOn.resolve(true),
  });
  clearTimeout(late);
  assert.ok(await goOn.promise, '60,000 bytes were told');
});

test('an image beyond the size limit is refused', async () => {
  await using server = await startFileServer({ '/disk.img': { content: qcow2() } });
  await using shop = await workshop();
  assert.is((await shop.fail([`${server.url}/disk.img`], { maximumBytes: 1000 })).code, 'image.too_large');
});

test('a digest in a SHA256SUMS is no key to the cache: its server has to deliver the image', async () => {
  const image = qcow2();
  const sums = text(`${sha256(image)} *disk.img\n`);
  await using owner = await startFileServer({ '/SHA256SUMS': sums, '/disk.img': { content: image } });
  const files: Record<string, ServedFile> = { '/SHA256SUMS': sums, '/disk.img': { content: qcow2(image.length) } };
  await using stranger = await startFileServer(files);
  await using shop = await workshop();
  await shop.run([`${owner.url}/disk.img`]);

  for (const urlList of [[`${stranger.url}/disk.img`], [`${stranger.url}/disk.img`, `${stranger.url}/SHA256SUMS`]]) {
    assert.is((await shop.fail(urlList)).code, 'image.checksum');
  }
  for (const work of ['work2', 'work3']) assert.equal(await readdir(join(shop.folder, work)), []);
  assert.is((await shop.run([`${owner.url}/disk.img`])).fromCache, true);

  files['/disk.img'] = { content: image };
  const delivered = () => stranger.headers.filter(({ range }) => range === undefined).length;
  const before = delivered();
  assert.is((await shop.run([`${stranger.url}/disk.img`])).fromCache, false);
  assert.is(delivered() - before, 2); // The image and its SHA256SUMS.
  assert.is((await shop.run([`${stranger.url}/disk.img`])).fromCache, true);
});

test('an entity tag opens what the same URL has served, and nothing that came from elsewhere', async () => {
  const image = qcow2();
  await using owner = await startFileServer({ '/disk.img': { content: image, etag: '"1"' } });
  const other = { content: qcow2(image.length), etag: '"1"' };
  await using stranger = await startFileServer({ '/disk.img': other });
  let target = owner.url;
  await using switching = await startServer((request, response) => {
    response.writeHead(302, { location: `${target}${request.url}` }).end();
  });
  await using shop = await workshop();
  await shop.run([`${owner.url}/disk.img`]);
  assert.equal(await readFile((await shop.run([`${stranger.url}/disk.img`])).path), other.content);

  const url = `${switching.url}/disk.img`;
  await shop.run([url]);
  assert.is((await shop.run([url])).fromCache, true);
  target = stranger.url;
  assert.equal(await readFile((await shop.run([url])).path), other.content);
});

test('a download that drips holds up no other build: not by a digest, a lock or a mirror', async () => {
  const image = qcow2();
  const sums = text(`${sha256(image)} *disk.img\n`);
  await using owner = await startFileServer({ '/SHA256SUMS': sums, '/disk.img': { content: image, etag: '"1"' } });
  const url = `${owner.url}/disk.img`;
  const dripping = await startDrip(image, sums);
  await using shop = await workshop();
  const stop = new AbortController();
  const attacks = [
    [`${dripping.url}/disk.img`],
    // After the owner's server, whose image is not what this SHA256SUMS says.
    [url, `${dripping.url}/disk.img`, `${dripping.url}/wrong/SHA256SUMS`],
    [sameLock(`${dripping.url}/disk.img`, url, sha256(image))],
  ].map((urlList) => shop.fail(urlList, { signal: stop.signal, patienceMs: 100 }));
  await dripping.begun(attacks.length);
  const late = setTimeout(() => stop.abort(new Error('the build was held up')), 20_000);
  const { fromCache, sha256: found } = await shop.run([url], { signal: stop.signal, patienceMs: 100 });
  clearTimeout(late);
  assert.equal([fromCache, found], [false, sha256(image)]);
  const reason = new Error('the attack may end');
  stop.abort(reason);
  for (const error of await Promise.all(attacks)) assert.is(error, reason);
  await dripping[Symbol.asyncDispose]();
  assert.equal(await readdir(join(shop.folder, 'cache/images/blobs')), [sha256(image)]);
});

test('a build waits for another’s download only while that comes on, and then downloads for itself', async () => {
  const image = qcow2();
  const first = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  let downloads = 0;
  await using server = await startServer((request, response) => {
    if (request.url !== '/disk.img') return void response.writeHead(404).end();
    if (request.headers.range !== undefined || ++downloads > 1) {
      return void serveFile(request, response, { content: image, etag: '"1"' });
    }
    response.writeHead(200, { 'content-length': image.length, etag: '"1"' });
    response.write(image.subarray(0, 1000), () => begun.resolve());
    void first.promise.then(() => response.end(image.subarray(1000)));
  });
  await using shop = await workshop();
  const url = `${server.url}/disk.img`;
  const stalled = shop.run([url]);
  await begun.promise;
  const { fromCache, path } = await shop.run([url], { patienceMs: 50 });
  assert.is(fromCache, false);
  assert.equal(await readFile(path), image);
  assert.match(shop.notices.join(), 'another build is downloading the base image');
  assert.is((await shop.run([url])).fromCache, true);
  first.resolve();
  const late = await stalled;
  assert.equal(await readFile(late.path), image);
  assert.equal(await readdir(join(shop.folder, 'cache/images/parts')), []);
});

test('how the image was verified is said of each byte, from the cache too', async () => {
  const image = qcow2();
  const sums = text(`${sha256(image)} *disk.img\n`);
  const disk = { content: image, etag: '"1"' };
  const tls = { tls: true };
  await using plain = await startFileServer({ '/bare/disk.img': disk, '/disk.img': disk, '/SHA256SUMS': sums });
  await using secure = await startFileServer({ '/bare/disk.img': disk, '/disk.img': disk, '/SHA256SUMS': sums }, tls);
  await using switching = await startServer((_request, response) => {
    response.writeHead(302, { location: `${secure.url}/bare/disk.img` }).end();
  }, tls);
  const viaPlain = await startServer((_request, response) => {
    response.writeHead(302, { location: `${plain.url}/bare/disk.img` }).end();
  }, tls);
  await using _ = viaPlain;
  const found: string[][] = [];
  for (const urls of [
    [`${plain.url}/bare/disk.img`],
    [`${plain.url}/disk.img`],
    [`${plain.url}/bare/disk.img`, `${secure.url}/SHA256SUMS`],
    [`${plain.url}/bare/disk.img`, `${plain.url}/SHA256SUMS`, `${secure.url}/SHA256SUMS`],
    [`${secure.url}/bare/disk.img`],
    [`${secure.url}/bare/disk.img`, `${plain.url}/SHA256SUMS`],
    [`${secure.url}/disk.img`],
    [`${switching.url}/disk.img`],
  ]) {
    await using shop = await workshop();
    const results = [await shop.run(urls), await shop.run(urls)];
    assert.equal(
      results.map(({ fromCache }) => fromCache),
      [false, true],
    );
    found.push(results.map(({ verifiedBy }) => verifiedBy));
  }
  assert.equal(
    found,
    [
      'unverified',
      'checksums_over_http',
      'checksums_over_https',
      'checksums_over_https',
      'https',
      'https',
      'checksums_over_https',
      'https',
    ].map((each) => [each, each]),
  );

  // An image that came over http once is not called verified by https later, though its URL is the same.
  await using shop = await workshop();
  using lax = testClient({ egressOptions: { allowDowngrade: true } });
  const url = `${viaPlain.url}/disk.img`;
  assert.is((await shop.run([url], { client: lax })).verifiedBy, 'unverified');
  assert.is((await shop.run([url], { client: lax })).verifiedBy, 'unverified');
  assert.is((await shop.fail([url])).code, 'egress.refused');
});

test.run();
