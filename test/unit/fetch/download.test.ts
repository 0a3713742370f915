import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type DownloadOptions, download } from '#lib/fetch/download.ts';
import { tryMirrors } from '#lib/fetch/mirrors.ts';
import { listen } from '../../../lab/servers/listen.ts';
import {
  createCutter,
  rejection,
  serveFile,
  startFileServer,
  startServer,
  temporaryFolder,
  testClient,
} from './with-server.ts';

const content = randomBytes(300_000);
const sha256Of = (data: string | Buffer) => createHash('sha256').update(data).digest('hex');
const sha256 = sha256Of(content);
const served = { content, etag: '"one"' };
const cutter = createCutter();

type Overrides = Partial<DownloadOptions> & { readonly urls: readonly string[] };

/** Runs a download into a fresh folder, and returns its outcome. */
async function attempt({ urls, ...overrides }: Overrides, stallTimeoutMs = 5000) {
  await using folder = await temporaryFolder();
  using client = testClient({ stallTimeoutMs, retry: { attempts: 3 } });
  const notices: string[] = [];
  const partPath = join(folder.path, 'part');
  const options = {
    partPath,
    client,
    signal: new AbortController().signal,
    maximumBytes: 1_000_000,
    onNotice: (message: string) => notices.push(message),
    onProgress: (currentBytes: number) => cutter.arrived(currentBytes),
    ...overrides,
  };
  const result = await tryMirrors(urls, (url) => download({ ...options, url }), options).catch(
    (error: Error & { code?: string }) => error,
  );
  const left = await readdir(folder.path);
  const file = left.includes('part') ? await readFile(partPath) : null;
  return { result, file, notices, left };
}

test('a file arrives whole, with its digest, validators and progress', async () => {
  await using server = await startFileServer({ '/f': { ...served, lastModified: 'Mon, 01 Jan 2024 00:00:00 GMT' } });
  const progress: (number | null)[][] = [];
  const { result, file, left } = await attempt({
    urls: [`${server.url}/f`],
    onProgress: (current, total) => progress.push([current, total]),
  });
  assert.equal(result, {
    url: `${server.url}/f`,
    origin: server.url,
    secure: false,
    sizeBytes: content.length,
    sha256,
    digests: [{ algorithm: 'sha256', hex: sha256 }],
    etag: '"one"',
    lastModified: 'Mon, 01 Jan 2024 00:00:00 GMT',
  });
  assert.equal(file, content);
  assert.equal(progress.at(-1), [content.length, content.length]);
  assert.equal(left, ['part']);
});

test('a cut connection is resumed where it broke, on condition that the file is the same', async () => {
  await using server = await startServer((request, response) => {
    if (server.requests.length === 1) cutter.send(100_000, response, served);
    else serveFile(request, response, served);
  });
  const { result, file, notices } = await attempt({ urls: [server.url] });
  assert.is('sha256' in result && result.sha256, sha256);
  assert.equal(file, content);
  assert.is(server.headers[1]?.range, 'bytes=100000-');
  assert.is(server.headers[1]?.['if-range'], '"one"');
  assert.match(notices.join(), 'going on at byte 100000');
});

test('a stalled download is broken off and resumed', async () => {
  await using server = await startServer((request, response) => {
    if (server.requests.length > 1) serveFile(request, response, served);
    else response.writeHead(200, { 'content-length': content.length, etag: '"one"' }).write(content.subarray(0, 5000));
  });
  const { file, notices } = await attempt({ urls: [server.url] }, 100);
  assert.equal(file, content);
  assert.match(notices.join(), 'sent nothing');
  assert.is(server.headers[1]?.range, 'bytes=5000-');
});

test('a file that changed between ranges starts again', async () => {
  const changed = { content: randomBytes(200_000), etag: '"two"' };
  await using server = await startServer((request, response) => {
    if (server.requests.length === 1) cutter.send(100_000, response, served);
    else serveFile(request, response, changed);
  });
  const { result, file, notices } = await attempt({ urls: [server.url] });
  assert.equal(file, changed.content);
  assert.is('etag' in result && result.etag, '"two"');
  assert.match(notices.join(), 'starting again');
});

test('a server that ignores If-Range and continues another file is noticed', async () => {
  const changed = { content: randomBytes(content.length), etag: '"two"' };
  await using server = await startServer((request, response) => {
    if (server.requests.length === 1) cutter.send(100_000, response, served);
    else {
      delete request.headers['if-range'];
      serveFile(request, response, changed);
    }
  });
  const { file } = await attempt({ urls: [server.url] });
  assert.equal(file, changed.content);
});

test('a server that ignores Range altogether starts again', async () => {
  await using server = await startServer((_request, response) => {
    if (server.requests.length === 1) cutter.send(100_000, response, served);
    else response.writeHead(200, { 'content-length': content.length, etag: '"one"' }).end(content);
  });
  assert.equal((await attempt({ urls: [server.url] })).file, content);
});

test('an answer with another range than was asked for is not appended', async () => {
  await using server = await startServer((request, response) => {
    if (server.requests.length === 1) cutter.send(100_000, response, served);
    else if (server.requests.length === 2) {
      response.writeHead(206, { 'content-range': `bytes 50000-299999/300000`, etag: '"one"' });
      response.end(content.subarray(50_000));
    } else serveFile(request, response, served);
  });
  assert.equal((await attempt({ urls: [server.url] })).file, content);
});

test('without a validator a cut download starts again rather than mixing two files', async () => {
  await using server = await startServer((request, response) => {
    if (server.requests.length > 1) serveFile(request, response, { content });
    else {
      cutter.send(1000, response, { content });
    }
  });
  assert.equal((await attempt({ urls: [server.url] })).file, content);
  assert.is(server.headers[1]?.range, undefined);
});

test('a modification time vouches for a resumption only when it is not of this very second', async () => {
  for (const [ageMs, range] of [
    [0, undefined],
    [5000, 'bytes=1000-'],
  ] as const) {
    const lastModified = new Date(Date.now() - ageMs).toUTCString();
    await using server = await startServer((request, response) => {
      if (server.requests.length > 1) serveFile(request, response, { content, lastModified });
      else {
        cutter.send(1000, response, { content, lastModified });
      }
    });
    assert.equal((await attempt({ urls: [server.url] })).file, content);
    assert.is(server.headers[1]?.range, range);
  }
});

test('a server that always cuts is given up after attempts that bring nothing of worth, and the part is kept', async () => {
  await using server = await startServer((_request, response) => cutter.send(100, response, served));
  const { result, file, left } = await attempt({ urls: [server.url] });
  assert.is('code' in result && result.code, 'upstream.unreachable');
  assert.is(server.requests.length, 3);
  assert.equal(left.sort(), ['part', 'part.json']);
  assert.equal(file, content.subarray(0, 100));
});

test('a part that a dead process left is resumed, and its digest is of the whole', async () => {
  await using server = await startFileServer({ '/f': served });
  await using folder = await temporaryFolder();
  const partPath = join(folder.path, 'kept');
  const urlSha256 = sha256Of(`${server.url}/f`);
  const description = { urlSha256, secure: false, validator: '"one"', totalBytes: content.length };
  await writeFile(partPath, content.subarray(0, 250_000));
  await writeFile(`${partPath}.json`, JSON.stringify(description));
  const { result } = await attempt({ urls: [`${server.url}/f`], partPath });
  assert.is('sha256' in result && result.sha256, sha256);
  assert.is(server.headers[0]?.range, 'bytes=250000-');
  assert.equal(await readdir(folder.path), ['kept']);
});

test('a part of another URL, one that came otherwise, or one that cannot be resumed, is not used', async () => {
  await using server = await startFileServer({ '/f': served });
  await using folder = await temporaryFolder();
  const partPath = join(folder.path, 'kept');
  for (const description of [
    { urlSha256: sha256Of('http://other.example/'), secure: false, validator: '"one"', totalBytes: null },
    { urlSha256: sha256Of(`${server.url}/f`), secure: true, validator: '"one"', totalBytes: null },
    '{',
  ]) {
    await writeFile(partPath, 'of something else');
    await writeFile(`${partPath}.json`, JSON.stringify(description));
    const { result } = await attempt({ urls: [`${server.url}/f`], partPath });
    assert.is('sha256' in result && result.sha256, sha256);
  }
});

test('a body that is shorter than announced is image.truncated or a cut connection, never a file', async () => {
  await using server = await startServer((_request, response) => {
    response.writeHead(206, { 'content-range': `bytes 0-999/1000`, 'transfer-encoding': 'chunked' }).end('short');
  });
  const { result, file } = await attempt({ urls: [server.url] });
  assert.is('code' in result && result.code, 'image.truncated');
  assert.match('message' in result ? result.message : '', '5 of 1000 bytes');
  assert.is(file, null);
});

test('a body that is longer than announced is noticed', async () => {
  await using server = await startServer((_request, response) => {
    response.writeHead(206, { 'content-range': `bytes 0-9/10`, 'transfer-encoding': 'chunked' }).end('x'.repeat(11));
  });
  const { result, file } = await attempt({ urls: [server.url] });
  assert.match('message' in result ? result.message : '', 'more than the 10 bytes');
  assert.is(file, null);
});

test('bytes after the announced length are no part of the file', async () => {
  const server = net.createServer((socket) => {
    socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345and more`));
  });
  await using listening = await listen(server);
  const { result, file } = await attempt({ urls: [`${listening.url}/`] });
  if ('sizeBytes' in result) assert.is(file?.toString(), '12345');
  else assert.is(result.code, 'upstream.unreachable');
});

test('the size limit holds before and during a download', async () => {
  await using server = await startServer((request, response) => {
    if (request.url === '/announced') response.writeHead(200, { 'content-length': 5000 }).write('x');
    else response.end(content);
  });
  for (const path of ['/announced', '/chunked']) {
    const { result, file } = await attempt({ urls: [server.url + path], maximumBytes: 1000 });
    assert.is('code' in result && result.code, 'image.too_large');
    assert.is(file, null);
  }
  assert.is(server.requests.length, 2);
});

test('more than the disk can hold is disk.full before the first byte', async () => {
  await using server = await startServer((_request, response) => {
    response.writeHead(200, { 'content-length': 2 ** 49 }).write('x');
  });
  const { result } = await attempt({ urls: [server.url, server.url], maximumBytes: Number.MAX_SAFE_INTEGER });
  assert.is('code' in result && result.code, 'disk.full');
  assert.is(server.requests.length, 1);
});

test('mirrors are tried in order, and a wrong digest is one reason to go on', async () => {
  await using server = await startFileServer({ '/bad': { content: randomBytes(1000) }, '/good': served });
  const expected = { digests: [{ algorithm: 'sha256' as const, hex: sha256 }], by: 'the list' };
  const urls = ['/missing', '/bad', '/good'].map((path) => server.url + path);
  const { result, file, notices } = await attempt({ urls, expected });
  assert.is('url' in result && result.url, urls[2]);
  assert.equal(file, content);
  assert.match(notices.join(), '/missing answered 404');
  assert.match(notices.join(), /\/bad has the sha256 digest [0-9a-f]{64}, but the list says/);
});

test('when no mirror has it, all are named, and what may pass decides', async () => {
  await using server = await startServer((request, response) => {
    response.writeHead(request.url === '/down' ? 503 : 404).end();
  });
  const { result } = await attempt({ urls: [`${server.url}/gone`, `${server.url}/down`] });
  assert.is('code' in result && result.code, 'upstream.status');
  assert.match('message' in result ? result.message : '', /gone answered 404.*down answered 503/);
});

test('an abort ends it at once with its reason', async () => {
  await using server = await startServer((_request, response) => {
    response.writeHead(200, { 'content-length': 1000 }).write('x');
  });
  await using folder = await temporaryFolder();
  using client = testClient();
  const stop = new AbortController();
  setTimeout(() => stop.abort(new Error('stopped')), 30);
  const partPath = join(folder.path, 'part');
  const options = { url: server.url, partPath, client, signal: stop.signal, maximumBytes: 10_000 };
  assert.is((await rejection(download(options))).message, 'stopped');
  assert.equal(await readdir(folder.path), []);
});

test.run();
