import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { type AptCacheOptions, createAptCache } from '#lib/fetch/apt-cache.ts';
import { startAptProxy } from '#lib/fetch/apt-proxy.ts';
import type { HttpClientOptions } from '#lib/http/client.ts';
import { startLabProxy } from '../../../lab/servers/http-proxy.ts';
import { listen } from '../../../lab/servers/listen.ts';
import {
  createCutter,
  type ServedFile,
  serveFile,
  startFileServer,
  startServer,
  temporaryFolder,
  testClient,
} from './with-server.ts';

interface Answer {
  readonly status: number;
  readonly reason: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** A cache and a proxy, and a client of it as apt is one. */
async function workshop(
  options: Partial<AptCacheOptions> & {
    readonly http?: Partial<HttpClientOptions>;
    readonly tunnelPorts?: readonly number[];
  } = {},
) {
  const folder = await temporaryFolder();
  const { tunnelPorts = [] } = options;
  const client = testClient({ retry: { attempts: 2 }, egressOptions: { tunnelPorts }, ...options.http });
  const cache = await createAptCache({ client, cacheDirectory: folder.path, cacheBytes: 10_000_000, ...options });
  const proxy = await startAptProxy({ client, cache, signal: new AbortController().signal });
  const agent = new http.Agent({ keepAlive: true });
  const { port } = new URL(proxy.url);
  const authorization = `Basic ${Buffer.from(`imagebuilder:${proxy.password}`).toString('base64')}`;
  return {
    folder: folder.path,
    cache,
    client,
    proxy,
    port: Number(port),
    authorization,
    async get(url: string, headers: http.OutgoingHttpHeaders = {}, method = 'GET'): Promise<Answer> {
      await this.settled();
      const request = http.request({
        agent,
        method,
        port,
        path: url,
        headers: { host: new URL(url).host, 'proxy-authorization': authorization, ...headers },
      });
      request.end();
      const [response] = (await once(request, 'response')) as [http.IncomingMessage];
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      return {
        status: response.statusCode ?? 0,
        reason: response.statusMessage ?? '',
        headers: response.headers,
        body: Buffer.concat(chunks),
      };
    },
    /** Resolves when no download is under way: a reader has its last byte a moment before the object is cached. */
    async settled(): Promise<void> {
      while ((await readdir(join(folder.path, 'packages/parts'))).length > 0) await sleep(2);
    },
    async [Symbol.asyncDispose]() {
      agent.destroy();
      await proxy[Symbol.asyncDispose]();
      client[Symbol.dispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const deb = { content: randomBytes(200_000), lastModified: 'Mon, 01 Jan 2024 00:00:00 GMT' };

test('a package is fetched once and then served from the cache, with its length and date', async () => {
  await using server = await startFileServer({ '/pool/a_1_all.deb': deb });
  await using shop = await workshop();
  for (let count = 0; count < 3; count += 1) {
    const { status, headers, body } = await shop.get(`${server.url}/pool/a_1_all.deb`);
    assert.is(status, 200);
    assert.equal(body, deb.content);
    assert.is(headers['last-modified'], deb.lastModified);
    assert.is(headers['content-length'], '200000');
  }
  assert.is(server.requests.length, 1);
  assert.equal(shop.proxy.statistics, { hits: 2, misses: 1 });
});

test('an old package is revalidated, and a changed one is fetched anew', async () => {
  const files: Record<string, ServedFile> = { '/pool/a.deb': deb };
  await using server = await startFileServer(files);
  await using shop = await workshop({ revalidateAfterMs: 0 });
  const url = `${server.url}/pool/a.deb`;
  await shop.get(url);
  assert.equal((await shop.get(url)).body, deb.content);
  assert.is(server.headers[1]?.['if-modified-since'], deb.lastModified);
  assert.is(shop.proxy.statistics.hits, 1);
  files['/pool/a.deb'] = { content: Buffer.from('changed'), lastModified: 'Tue, 02 Jan 2024 00:00:00 GMT' };
  assert.is((await shop.get(url)).body.toString(), 'changed');
  assert.is((await shop.get(url)).body.toString(), 'changed');
});

test('apt can ask for a package anew', async () => {
  await using server = await startFileServer({ '/pool/a.deb': deb });
  await using shop = await workshop();
  await shop.get(`${server.url}/pool/a.deb`);
  await shop.get(`${server.url}/pool/a.deb`, { 'cache-control': 'no-cache' });
  assert.is(server.requests.length, 2);
});

test('a cached package is served while its server is down; an index is not', async () => {
  let up = true;
  await using server = await startServer((request, response) => {
    if (up) serveFile(request, response, deb);
    else response.writeHead(503).end();
  });
  await using shop = await workshop({ revalidateAfterMs: 0 });
  await shop.get(`${server.url}/pool/a.deb`);
  await shop.get(`${server.url}/dists/x/InRelease`);
  up = false;
  assert.equal((await shop.get(`${server.url}/pool/a.deb`)).body, deb.content);
  assert.is((await shop.get(`${server.url}/dists/x/InRelease`)).status, 503);
});

test('an index is asked for at every use, and sent again only when it has changed', async () => {
  const files: Record<string, ServedFile> = { '/dists/x/InRelease': { content: Buffer.from('one'), etag: '"1"' } };
  await using server = await startFileServer(files);
  await using shop = await workshop();
  const url = `${server.url}/dists/x/InRelease`;
  assert.is((await shop.get(url)).body.toString(), 'one');
  assert.is((await shop.get(url)).body.toString(), 'one');
  assert.is(server.headers[1]?.['if-none-match'], '"1"');
  files['/dists/x/InRelease'] = { content: Buffer.from('two'), etag: '"2"' };
  assert.is((await shop.get(url)).body.toString(), 'two');
  assert.is(server.requests.length, 3);
});

test('conditions of apt’s own on an index go through, and so does "not modified"', async () => {
  await using server = await startFileServer({ '/dists/x/InRelease': deb });
  await using shop = await workshop();
  const { status } = await shop.get(`${server.url}/dists/x/InRelease`, { 'if-modified-since': deb.lastModified });
  assert.is(status, 304);
  assert.is(server.headers[0]?.['if-modified-since'], deb.lastModified);
});

test('a by-hash file is cached only when its content has that hash, and then needs no server', async () => {
  const content = randomBytes(5000);
  const paths = [
    `/dists/x/by-hash/SHA256/${createHash('sha256').update(content).digest('hex')}`,
    `/dists/x/by-hash/SHA512/${createHash('sha512').update(content).digest('hex')}`,
    `/dists/x/by-hash/SHA256/${'0'.repeat(64)}`,
  ];
  await using server = await startServer((request, response) => serveFile(request, response, { content, etag: '"x"' }));
  await using shop = await workshop();
  for (const path of [...paths, ...paths]) assert.equal((await shop.get(server.url + path)).body, content);
  assert.equal(
    server.requests,
    [...paths, paths[2]].map((path) => `GET ${path}`),
  );
});

test('a hash that another repository names opens nothing that is cached of the first', async () => {
  const content = randomBytes(5000);
  const digest = createHash('sha256').update(content).digest('hex');
  const paths = [`/dists/x/by-hash/SHA256/${digest}`, '/pool/a.deb', '/dists/x/InRelease'];
  await using owner = await startServer((request, response) => serveFile(request, response, { content, etag: '"x"' }));
  const other = { content: randomBytes(5000), etag: '"x"' };
  await using stranger = await startServer((request, response) => serveFile(request, response, other));
  await using shop = await workshop();
  for (const path of [...paths, ...paths]) assert.equal((await shop.get(owner.url + path)).body, content);
  for (const path of paths) assert.equal((await shop.get(stranger.url + path)).body, other.content, path);
});

test('builds at once share one download, and each gets it all', async () => {
  await using server = await startServer((request, response) => {
    setTimeout(() => serveFile(request, response, deb), 50);
  });
  await using shop = await workshop();
  await using other = await startAptProxy({
    client: shop.client,
    cache: shop.cache,
    signal: new AbortController().signal,
  });
  assert.is.not(other.url, shop.proxy.url);
  const answers = await Promise.all([1, 2, 3, 4].map(() => shop.get(`${server.url}/pool/a.deb`)));
  for (const { body } of answers) assert.equal(body, deb.content);
  assert.is(server.requests.length, 1);
});

test('a package that comes slowly is passed on as it comes', async () => {
  const proceed = Promise.withResolvers<void>();
  await using server = await startServer((_request, response) => {
    response.writeHead(200, { 'content-length': 10, 'last-modified': deb.lastModified });
    response.write('12345');
    void proceed.promise.then(() => response.end('67890'));
  });
  await using shop = await workshop();
  const request = http.get({
    port: shop.port,
    path: `${server.url}/pool/a.deb`,
    headers: { 'proxy-authorization': shop.authorization },
  });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  const [first] = (await once(response, 'data')) as [Buffer];
  assert.is(first.toString(), '12345');
  proceed.resolve();
  const [second] = (await once(response, 'data')) as [Buffer];
  assert.is(second.toString(), '67890');
});

test('a cut download is resumed behind apt’s back', async () => {
  const served = { ...deb, etag: '"1"' };
  const cutter = createCutter();
  await using server = await startServer((request, response) => {
    if (server.requests.length > 1) serveFile(request, response, served);
    else {
      cutter.send(70_000, response, served);
    }
  });
  await using shop = await workshop();
  const path = `${server.url}/pool/a.deb`;
  const request = http.get({ port: shop.port, path, headers: { 'proxy-authorization': shop.authorization } });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  let received = Buffer.alloc(0);
  for await (const chunk of response) {
    received = Buffer.concat([received, chunk as Buffer]);
    cutter.arrived(received.length);
  }
  assert.equal(received, deb.content);
  assert.is(server.headers[1]?.range, 'bytes=70000-');
  assert.equal(shop.proxy.failures, []);
});

test('apt’s range of a package it has begun is served from the cache, unless it began another', async () => {
  await using server = await startFileServer({ '/pool/a.deb': deb });
  await using shop = await workshop();
  const url = `${server.url}/pool/a.deb`;
  for (let count = 0; count < 2; count += 1) {
    const rest = await shop.get(url, { range: 'bytes=150000-', 'if-range': deb.lastModified });
    assert.is(rest.status, 206);
    assert.is(rest.headers['content-range'], 'bytes 150000-199999/200000');
    assert.equal(rest.body, deb.content.subarray(150_000));
  }
  const whole = await shop.get(url, { range: 'bytes=10-', 'if-range': 'Tue, 02 Jan 2024 00:00:00 GMT' });
  assert.is(whole.status, 200);
  assert.is(whole.body.length, 200_000);
  assert.is((await shop.get(url, { range: 'bytes=200000-' })).status, 416);
  assert.is(server.requests.length, 1);
});

test('errors reach apt as a status with a reason, and are kept until the URL works', async () => {
  let healthy = false;
  await using server = await startServer((request, response) => {
    if (request.url?.endsWith('/missing') === true) response.writeHead(404).end();
    else if (healthy) response.end('ok');
    else response.writeHead(500).end();
  });
  await using shop = await workshop();
  const missing = await shop.get(`${server.url}/missing`);
  assert.is(missing.status, 404);
  const broken = await shop.get(`${server.url}/broken`);
  assert.is(broken.status, 500);
  assert.match(broken.reason, '/broken answered 500');
  const refused = await shop.get('http://169.254.169.254/x');
  assert.is(refused.status, 403);
  assert.match(refused.reason, 'refused by the egress rules');
  const dead = await shop.get('http://127.0.0.1:1/pool/x.deb');
  assert.is(dead.status, 502);
  assert.match(dead.reason, 'the connection was refused');
  assert.equal(
    shop.proxy.failures.map(({ status, code, fault }) => [status, code, fault]),
    [
      [404, 'upstream.status', 'request'],
      [500, 'upstream.status', 'upstream'],
      [403, 'egress.refused', 'request'],
      [502, 'upstream.unreachable', 'upstream'],
    ],
  );
  healthy = true;
  await shop.get(`${server.url}/broken`);
  assert.is(shop.proxy.failures.length, 3);
});

test('a server that is silent is 504', async () => {
  await using server = await startServer(() => undefined);
  await using shop = await workshop({ http: { stallTimeoutMs: 50 } });
  assert.is((await shop.get(`${server.url}/pool/a.deb`)).status, 504);
});

test('a server that one build’s URL led to in vain, by a redirect, is asked by another build all the same', async () => {
  await using silent = await startServer(() => undefined);
  await using server = await startServer((request, response) => {
    if (request.url === '/elsewhere.deb') response.writeHead(302, { location: silent.url }).end();
    else serveFile(request, response, deb);
  });
  await using shop = await workshop({ http: { stallTimeoutMs: 200 } });
  await using other = await startAptProxy({ ...shop, signal: new AbortController().signal });
  assert.is((await shop.get(`${server.url}/elsewhere.deb`)).status, 504);
  const headers = { 'proxy-authorization': `Basic ${btoa(`imagebuilder:${other.password}`)}` };
  const { port } = new URL(other.url);
  const request = http.get({ port, path: `${server.url}/pool/a.deb`, headers, agent: false });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  request.destroy();
  assert.is(response.statusCode, 200);
});

test('a server that is silent until apt gives up is a failure too, one that apt left at once is not', async () => {
  await using server = await startServer(() => undefined);
  await using shop = await workshop({ http: { connectTimeoutMs: 500 } });
  const begin = (name: string) => {
    const path = `${server.url}/pool/${name}.deb`;
    const request = http.get({ port: shop.port, path, headers: { 'proxy-authorization': shop.authorization } });
    return request.on('error', () => undefined);
  };
  const patient = begin('patient');
  const hasty = begin('hasty');
  while (server.requests.length < 2) await sleep(2);
  hasty.destroy();
  await sleep(600);
  patient.destroy();
  while (shop.proxy.failures.length === 0) await sleep(2);
  assert.equal(
    shop.proxy.failures.map(({ url, status }) => [url, status]),
    [[`${server.url}/pool/patient.deb`, 504]],
  );
});

test('a server’s Content-Range does not reach apt, which would wait for all bytes that it promises', async () => {
  await using server = await startServer((request, response) => {
    if (request.headers.range === undefined) response.writeHead(200, { 'content-length': 4 }).end('abcd');
    else response.writeHead(206, { 'content-range': 'bytes 2-99/100', 'content-length': 1 }).end('c');
  });
  await using shop = await workshop();
  const conditions = { range: 'bytes=2-', 'if-modified-since': deb.lastModified };
  const { status, headers, body } = await shop.get(`${server.url}/dists/x/InRelease`, conditions);
  assert.equal([status, headers['content-range'], body.toString()], [200, undefined, 'abcd']);
});

test('an answer that dies on its way is kept as a failure, though apt’s connection ends with it', async () => {
  await using server = await startServer((_request, response) => {
    response.writeHead(200, { 'content-length': 100 }).write('abcd');
  });
  await using shop = await workshop({ http: { stallTimeoutMs: 100 } });
  await shop.get(`${server.url}/dists/x/InRelease`).catch(() => undefined);
  while (shop.proxy.failures.length === 0) await sleep(2);
  const [failure] = shop.proxy.failures;
  assert.is(failure?.code, 'upstream.unreachable');
});

test('a server that drips through a tunnel is cut off', async () => {
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    let timer: NodeJS.Timeout | undefined;
    socket.once('data', () => {
      timer = setInterval(() => socket.write('x'), 20);
    });
    socket.on('close', () => clearInterval(timer));
  });
  await using listening = await listen(server);
  const { port } = listening;
  await using shop = await workshop({ http: { stallTimeoutMs: 150 }, tunnelPorts: [port] });
  const request = http.request({
    port: shop.port,
    method: 'CONNECT',
    path: `127.0.0.1:${port}`,
    headers: { 'proxy-authorization': shop.authorization },
  });
  request.end();
  const [, socket] = (await once(request, 'connect')) as [http.IncomingMessage, net.Socket];
  let received = 0;
  socket.on('data', (chunk: Buffer) => {
    received += chunk.length;
  });
  socket.write('go');
  await once(socket, 'close');
  assert.ok(received > 5);
});

test('behind a proxy of the network, apt gets http and tunnels through it, under the same rules', async () => {
  await using outer = await startLabProxy({ credentials: 'me:pass' });
  const address = `http://me:pass@127.0.0.1:${outer.port}`;
  const { proxies } = loadConfig({ http_proxy: address, https_proxy: address }).http;
  await using server = await startFileServer({ '/pool/a.deb': deb });
  const { host, port } = new URL(server.url);
  await using shop = await workshop({ http: { proxies }, tunnelPorts: [Number(port)] });
  assert.equal((await shop.get(`${server.url}/pool/a.deb`)).body, deb.content);
  const [socket, answer] = await tunnel(shop.port, shop.authorization, host);
  assert.match(answer, /^HTTP\/1\.1 200/);
  socket.write('GET /pool/a.deb HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  assert.ok(Buffer.concat(chunks).subarray(-deb.content.length).equals(deb.content));
  const [refused, text] = await tunnel(shop.port, shop.authorization, '169.254.169.254:443');
  refused.destroy();
  assert.match(text, /^HTTP\/1\.1 403/);
  assert.equal(outer.requests, [`GET ${server.url}/pool/a.deb`, `CONNECT ${host}`]);
  assert.ok(server.headers.every((headers) => headers['proxy-authorization'] === undefined));
});

test('a refusal of the network’s proxy is the operator’s fault, and reaches apt as none of this one', async () => {
  await using outer = await startLabProxy({ credentials: 'me:pass' });
  const address = `http://me:wrong@127.0.0.1:${outer.port}`;
  const { proxies } = loadConfig({ http_proxy: address, https_proxy: address }).http;
  await using shop = await workshop({ http: { proxies }, tunnelPorts: [443] });
  assert.is((await shop.get('http://127.0.0.1:1/pool/a.deb')).status, 502);
  const [socket, answer] = await tunnel(shop.port, shop.authorization, '127.0.0.1:443');
  socket.destroy();
  assert.match(answer, /^HTTP\/1\.1 502/);
  assert.equal(
    shop.proxy.failures.map(({ code, fault }) => [code, fault]),
    [
      ['proxy.refused', 'service'],
      ['proxy.refused', 'service'],
    ],
  );
});

test('without the password nothing is served', async () => {
  await using server = await startFileServer({ '/pool/a.deb': deb });
  await using shop = await workshop();
  for (const authorization of ['', 'Basic aW1hZ2VidWlsZGVyOng=']) {
    assert.is((await shop.get(`${server.url}/pool/a.deb`, { 'proxy-authorization': authorization })).status, 407);
  }
  assert.is(server.requests.length, 0);
  const [failure] = shop.proxy.failures;
  assert.equal([failure?.code, failure?.fault], ['guest.failed', 'service'], 'the repository has refused nothing');
});

test('a request with credentials is passed on with them and never cached', async () => {
  await using server = await startServer((request, response) => {
    if (request.headers.authorization === 'Basic private') serveFile(request, response, deb);
    else response.writeHead(401).end();
  });
  await using shop = await workshop();
  const url = `${server.url}/pool/a.deb`;
  assert.equal((await shop.get(url, { authorization: 'Basic private' })).body, deb.content);
  assert.is((await shop.get(url)).status, 401);
  assert.equal(await readdir(join(shop.folder, 'packages/blobs')), []);
  assert.is(server.headers[0]?.['proxy-authorization'], undefined);
});

test('HEAD, and methods that are none of apt’s', async () => {
  await using server = await startFileServer({ '/pool/a.deb': deb });
  await using shop = await workshop();
  const { status, headers } = await shop.get(`${server.url}/pool/a.deb`, {}, 'HEAD');
  assert.is(status, 200);
  assert.is(headers['content-length'], '200000');
  assert.is((await shop.get(`${server.url}/pool/a.deb`, {}, 'PUT')).status, 405);
});

test('pipelined requests are answered in order', async () => {
  await using server = await startFileServer({
    '/pool/1.deb': { content: Buffer.from('first'), etag: '"1"' },
    '/pool/2.deb': { content: Buffer.from('second'), etag: '"2"' },
  });
  await using shop = await workshop();
  const socket = net.connect(shop.port, '127.0.0.1');
  for (const name of ['1', 'missing', '2']) {
    const close = name === '2' ? 'Connection: close\r\n' : '';
    const auth = `Proxy-Authorization: ${shop.authorization}\r\n`;
    socket.write(`GET ${server.url}/pool/${name}.deb HTTP/1.1\r\nHost: x\r\n${auth}${close}\r\n`);
  }
  let received = '';
  for await (const chunk of socket) received += String(chunk);
  assert.match(received, /^HTTP\/1.1 200.*first.*HTTP\/1.1 404.*HTTP\/1.1 200.*second$/s);
});

async function tunnel(port: number, authorization: string, target: string): Promise<[net.Socket, string]> {
  const socket = net.connect(port, '127.0.0.1');
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nProxy-Authorization: ${authorization}\r\n\r\n`);
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  return [socket, chunk.toString()];
}

test('an image that opens connections without end gets so many and no more, and is served again once it lets them go', async () => {
  await using shop = await workshop();
  const listener = net.createServer();
  shop.proxy.serve(listener);
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const address = listener.address() as net.AddressInfo;
  const ports = [address.port, shop.port];
  for (const port of ports) {
    const sockets = Array.from({ length: 300 }, () =>
      net
        .connect(port, '127.0.0.1')
        .on('error', () => {})
        .resume(),
    );
    const closed = () => sockets.filter((socket) => socket.closed).length;
    while (closed() < 44) await sleep(10);
    await sleep(200);
    assert.is(closed(), 44);
    for (const socket of sockets) socket.destroy();
    await sleep(100);
    const socket = net.connect(port, '127.0.0.1');
    socket.write('POST http://example.org/ HTTP/1.1\r\nhost: example.org\r\n\r\n');
    const [answer] = (await once(socket, 'data')) as [Buffer];
    assert.match(String(answer), /^HTTP\/1\.1 40[57] /);
    socket.destroy();
  }
  listener.close();
});

test('a tunnel passes bytes both ways, under the same rules', async () => {
  await using server = await startServer((_request, response) => response.end('through'));
  const { host, port } = new URL(server.url);
  await using shop = await workshop({ tunnelPorts: [1, 443, Number(port)] });
  const [socket, answer] = await tunnel(shop.port, shop.authorization, host);
  assert.match(answer, /^HTTP\/1.1 200 /);
  socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  let received = '';
  for await (const chunk of socket) received += String(chunk);
  assert.match(received, 'through');
  for (const [target, status] of [
    ['169.254.169.254:443', 403],
    ['[::ffff:169.254.169.254]:443', 403],
    ['127.0.0.1:1', 502],
    ['127.0.0.1:2', 403],
  ] as const) {
    const [refused, text] = await tunnel(shop.port, shop.authorization, target);
    assert.match(text, new RegExp(`^HTTP/1.1 ${status} `));
    refused.destroy();
  }
  const [denied, text] = await tunnel(shop.port, 'Basic x', host);
  assert.match(text, /^HTTP\/1.1 407 /);
  denied.destroy();
  assert.equal(
    shop.proxy.failures.map(({ url }) => url),
    [
      'https://169.254.169.254/',
      'https://[::ffff:a9fe:a9fe]/',
      'https://127.0.0.1:1/',
      'https://127.0.0.1:2/',
      `https://${host}/`,
    ],
  );
});

test('an open tunnel and a download under way end with the proxy, and leave no file', async () => {
  await using server = await startServer((_request, response) => {
    response.writeHead(200, { 'content-length': 1000 }).write('x');
  });
  await using shop = await workshop({ tunnelPorts: [Number(new URL(server.url).port)] });
  const [socket] = await tunnel(shop.port, shop.authorization, new URL(server.url).host);
  const closed = once(socket, 'close');
  const pending = shop.get(`${server.url}/pool/a.deb`).catch((error: Error) => error);
  while (server.requests.length === 0) await sleep(2);
  await shop.proxy[Symbol.asyncDispose]();
  await closed;
  assert.instance(await pending, Error);
  assert.equal(await readdir(join(shop.folder, 'packages/parts')), []);
});

test('a download whose readers have all left is given up, and can be begun again', async () => {
  await using server = await startServer((request, response) => {
    if (server.requests.length > 1) serveFile(request, response, deb);
    else response.writeHead(200, { 'content-length': 1000, etag: '"1"' }).write('x');
  });
  await using shop = await workshop();
  const url = `${server.url}/pool/a.deb`;
  const request = http.get({ port: shop.port, path: url, headers: { 'proxy-authorization': shop.authorization } });
  await once(request, 'response');
  request.destroy();
  await shop.settled();
  assert.equal((await shop.get(url)).body, deb.content);
});

test('the cache stays below its limit', async () => {
  await using server = await startServer((request, response) => {
    serveFile(request, response, { content: randomBytes(30_000), etag: `"${request.url}"` });
  });
  await using shop = await workshop({ cacheBytes: 100_000 });
  for (let index = 0; index < 8; index += 1) await shop.get(`${server.url}/pool/${index}.deb`);
  await shop.proxy[Symbol.asyncDispose]();
  assert.is((await readdir(join(shop.folder, 'packages/blobs'))).length, 3);
});

test.run();
