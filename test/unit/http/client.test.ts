import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { createConnections } from '#lib/http/connections.ts';
import { UpstreamError } from '#lib/http/upstream-error.ts';
import { listen } from '../../../lab/servers/listen.ts';
import { rejection, startServer, testClient } from '../fetch/with-server.ts';

const limit = { maximumBytes: 1000 };

for (const [status, code, requests] of [
  [404, 'ppa.not_found', 1],
  [410, 'ppa.not_found', 1],
  [401, 'upstream.forbidden', 1],
  [403, 'upstream.forbidden', 1],
  [400, 'upstream.unusable', 1],
  [451, 'upstream.unusable', 1],
  [501, 'upstream.unusable', 1],
  [408, 'upstream.status', 3],
  [429, 'upstream.status', 3],
  [500, 'upstream.status', 3],
  [503, 'upstream.status', 3],
  [522, 'upstream.status', 3],
] as const) {
  test(`status ${status} becomes ${code} after ${requests === 1 ? 'one request' : `${requests} requests`}`, async () => {
    await using server = await startServer((_request, response) => response.writeHead(status).end());
    using client = testClient({ retry: { attempts: 3 } });
    const error = await rejection(client.getText(`${server.url}/x`, { ...limit, notFoundCode: 'ppa.not_found' }));
    assert.is(error.code, code);
    assert.is(server.requests.length, requests);
    assert.is((error as UpstreamError).upstreamStatus, status);
  });
}

test('a server that recovers is answered for', async () => {
  let count = 0;
  await using server = await startServer((_request, response) => {
    count += 1;
    if (count < 3) response.writeHead(502).end();
    else response.end('well again');
  });
  using client = testClient();
  assert.is((await client.getText(server.url, limit)).text, 'well again');
});

test('Retry-After is honoured, and one beyond the limit ends the attempts', async () => {
  const times: number[] = [];
  await using server = await startServer((request, response) => {
    times.push(performance.now());
    const seconds = request.url === '/long' ? '3600' : '1';
    if (request.url === '/long' || times.length === 1) response.writeHead(429, { 'retry-after': seconds }).end();
    else response.end('ok');
  });
  using client = testClient();
  await client.getText(server.url, limit);
  assert.ok((times[1] ?? 0) - (times[0] ?? 0) >= 990);
  const error = await rejection(client.getText(`${server.url}/long`, limit));
  assert.is((error as ImageBuilderError).retryAfterSeconds, 3600);
  assert.match(error.message, 'answered 429 Too Many Requests and asks to be left alone for 3600 seconds');
  assert.is(server.requests.length, 3);
});

test('a refused connection, a cut one, an unknown host and a failed TLS handshake are distinguished', async () => {
  const cutter = await listen(net.createServer((socket) => socket.destroy()));
  await using server = await startServer((_request, response) => response.end());
  using client = testClient({ retry: { attempts: 2 } });
  const cut = await rejection(client.open(`${cutter.url}/`));
  await cutter[Symbol.asyncDispose]();
  const refused = await rejection(client.open(`${cutter.url}/`));
  const tls = await rejection(client.open(server.url.replace('http:', 'https:')));
  using lost = testClient({
    egressOptions: { resolve: () => Promise.reject(Object.assign(new Error('no'), { code: 'ENOTFOUND' })) },
  });
  const unknown = await rejection(lost.open('http://nowhere.example/'));
  for (const error of [cut, refused]) assert.is(error.code, 'upstream.unreachable');
  for (const error of [tls, unknown]) assert.is(error.code, 'upstream.unusable');
  assert.match(cut.message, 'cut');
  assert.match(refused.message, 'refused');
  assert.match(tls.message, 'TLS failed');
  assert.match(unknown.message, 'DNS knows no such host');
});

test('a redirect loop ends after five hops', async () => {
  await using server = await startServer((_request, response) => response.writeHead(302, { location: '/' }).end());
  using client = testClient();
  const error = await rejection(client.getText(server.url, limit));
  assert.is(error.code, 'upstream.unusable');
  assert.match(error.message, 'redirects more than 5 times');
  assert.is(server.requests.length, 6);
});

test('credentials go to the first origin only', async () => {
  await using other = await startServer((_request, response) => response.end('there'));
  await using server = await startServer((request, response) => {
    response.writeHead(307, { location: request.url === '/' ? '/same' : `${other.url}/` }).end();
  });
  using client = testClient();
  const headers = { authorization: 'Basic x', cookie: 'a=b', 'x-auth-token': 't', accept: 'text/plain' };
  const { text, url } = await client.getText(server.url, { ...limit, headers });
  assert.is(text, 'there');
  assert.is(url, `${other.url}/`);
  assert.is(server.headers[1]?.['x-auth-token'], 't');
  const [received = {}] = other.headers;
  for (const name of ['authorization', 'cookie', 'x-auth-token']) assert.is(received[name], undefined);
  assert.is(received.accept, 'text/plain');
});

test('credentials in a URL are never in a message', async () => {
  await using server = await startServer((_request, response) => response.writeHead(403).end());
  using client = testClient();
  const error = await rejection(client.open(`${server.url.replace('//', '//user:hunter2@')}/?token=hunter2`));
  assert.not.match(error.message, 'hunter2');
  assert.is(server.headers[0]?.authorization, `Basic ${Buffer.from('user:hunter2').toString('base64')}`);
});

test('an error holds no header of its request, at any depth', async () => {
  using client = testClient({ retry: { attempts: 1 } });
  const error = await rejection(client.open('http://127.0.0.1:1/', { headers: { authorization: 'Bearer hunter2' } }));
  assert.not.match(inspect(error, { depth: 10, showHidden: true }), 'hunter2');
});

test('a compressed body arrives as it is stored', async () => {
  const stored = gzipSync('an image');
  await using server = await startServer((_request, response) => {
    response.writeHead(200, { 'content-encoding': 'gzip' }).end(stored);
  });
  using client = testClient();
  using response = await client.open(server.url);
  const chunks: Buffer[] = [];
  for await (const chunk of response.body) chunks.push(chunk);
  assert.equal(Buffer.concat(chunks), stored);
  assert.is(server.headers[0]?.['accept-encoding'], 'identity');
});

test('a body over the limit is refused', async () => {
  await using server = await startServer((_request, response) => response.end('x'.repeat(1001)));
  using client = testClient();
  assert.match((await rejection(client.getText(server.url, limit))).message, 'more than 1000 bytes');
});

test('an answer that never comes, and a body that stalls, are given up', async () => {
  await using server = await startServer((request, response) => {
    if (request.url === '/body') response.writeHead(200, { 'content-length': 10 }).write('12345');
  });
  using client = testClient({ stallTimeoutMs: 50, retry: { attempts: 2 } });
  const silent = await rejection(client.getText(`${server.url}/`, limit));
  const stalled = await rejection(client.getText(`${server.url}/body`, limit));
  assert.match(silent.message, 'did not answer in time');
  assert.match(stalled.message, 'sent nothing');
  for (const error of [silent, stalled]) assert.ok(error instanceof UpstreamError && error.timedOut);
  assert.is(server.requests.length, 4);
});

test('Retry-After may be a date', async () => {
  const times: number[] = [];
  await using server = await startServer((_request, response) => {
    times.push(Date.now());
    const date = new Date(Date.now() + 2000).toUTCString();
    if (times.length === 1) response.writeHead(503, { 'retry-after': date }).end();
    else response.end('ok');
  });
  using client = testClient();
  await client.getText(server.url, limit);
  // A date has no fractions of a second.
  assert.ok((times[1] ?? 0) - (times[0] ?? 0) >= 990);
});

test('a server that is too slow is tried three times at most', async () => {
  await using server = await startServer(() => undefined);
  using client = testClient({ stallTimeoutMs: 50, retry: { attempts: 9 } });
  await rejection(client.getText(server.url, limit));
  assert.is(server.requests.length, 3);
});

test('a body that drips is given up, though it never stalls', async () => {
  await using server = await startServer((_request, response) => {
    response.writeHead(200);
    const timer = setInterval(() => response.write('x'), 20);
    response.once('close', () => clearInterval(timer));
  });
  using client = testClient({ stallTimeoutMs: 300, retry: { attempts: 2 } });
  const error = await rejection(client.getText(server.url, limit));
  assert.is(error.code, 'upstream.unreachable');
  assert.match(error.message, 'less than 1024 bytes a second');
  assert.is(server.requests.length, 2);
});

test('an answer that comes as things happen may drip for ever, and is given up when it stalls', async () => {
  let timer: NodeJS.Timeout | undefined;
  await using server = await startServer((_request, response) => {
    response.writeHead(200);
    timer = setInterval(() => response.write('x'), 20);
  });
  const limits = { connectTimeoutMs: 10_000, stallTimeoutMs: 200, userAgent: 'test' };
  using connections = createConnections(limits);
  using response = await connections.send(server.url, { isLive: true });
  const startedMs = performance.now();
  const read = async () => {
    for await (const _ of response.body) {
      // Longer than any drip may last.
      if (performance.now() - startedMs > 10 * limits.stallTimeoutMs) clearInterval(timer);
    }
  };
  const error = await rejection(read());
  assert.match(error.message, 'sent nothing');
});

test('a slow reader is not mistaken for a slow server', async () => {
  let more = () => {};
  await using server = await startServer((_request, response) => {
    more = () => response.write('x'.repeat(50));
    more();
  });
  using client = testClient({ stallTimeoutMs: 100 });
  using response = await client.open(server.url);
  let chunks = 0;
  for await (const _ of response.body) {
    chunks += 1;
    if (chunks === 6) break;
    more();
    await sleep(120);
  }
});

test('an aborted signal ends a request at once with its reason', async () => {
  await using server = await startServer((request, response) => {
    if (request.url === '/body') response.writeHead(200).write('1');
  });
  using client = testClient();
  for (const path of ['/', '/body']) {
    const stop = new AbortController();
    const reason = new ImageBuilderError('build.cancelled', 'cancelled');
    const pending = rejection(client.getText(server.url + path, { ...limit, signal: stop.signal }));
    setTimeout(() => stop.abort(reason), 30);
    assert.is(await pending, reason);
  }
});

test('an aborted signal ends the wait between attempts', async () => {
  await using server = await startServer((_request, response) => response.writeHead(503).end());
  using client = testClient({ retry: { delayMs: 20_000 } });
  const stop = new AbortController();
  const pending = rejection(client.getText(server.url, { ...limit, signal: stop.signal }));
  setTimeout(() => stop.abort(), 50);
  assert.is((await pending).name, 'AbortError');
});

test('connections are kept alive', async () => {
  await using server = await startServer((_request, response) => response.end('ok'));
  using client = testClient();
  for (let count = 0; count < 3; count += 1) await client.getText(server.url, limit);
  await client.head(server.url);
  assert.is(server.connections, 1);
});

test('getJson parses JSON and refuses other bodies', async () => {
  await using server = await startServer((request, response) => response.end(request.url === '/no' ? '<' : '{"a":1}'));
  using client = testClient();
  assert.equal(await client.getJson(server.url, limit), { a: 1 });
  assert.match((await rejection(client.getJson(`${server.url}/no`, limit))).message, 'not JSON');
});

test('postJson sends the body with its headers and resolves with any status', async () => {
  let received = '';
  await using server = await startServer((request, response) => {
    if (request.url === '/moved') {
      response.writeHead(308, { location: '/' }).end();
      return;
    }
    request.setEncoding('utf8').on('data', (chunk: string) => {
      received += chunk;
    });
    request.on('end', () => response.writeHead(500).end());
  });
  using client = testClient();
  const { status } = await client.postJson(`${server.url}/moved`, '{"a":1}', { headers: { 'x-call-id': '7' } });
  assert.is(status, 500);
  assert.is(received, '{"a":1}');
  assert.equal(server.requests, ['POST /moved', 'POST /']);
  assert.is(server.headers[1]?.['content-type'], 'application/json');
  assert.is(server.headers[1]?.['x-call-id'], '7');
});

test.run();
