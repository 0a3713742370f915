import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { rawCall } from '../../lab/servers/raw-http.ts';
import { eventually, serveStack } from './serve/command.ts';
import { startReceiver } from './serve/receiver.ts';

interface Echo {
  readonly method: string;
  readonly path: string;
  readonly query: Record<string, string>;
  readonly headers: Record<string, string>;
  readonly body: unknown;
}

interface Problem {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
}

const gateway = await serveStack(
  {
    echo: {
      handler: 'echo',
      environment: { GREETING: 'of the stack', IMAGEBUILDER_GATEWAY_URL: 'http://elsewhere.example' },
    },
    status: { handler: 'echo' },
    'build-image': { handler: 'echo' },
    single: { handler: 'slow', environment: { max_inflight: '1' } },
    events: { handler: 'echo', environment: { max_inflight: '1', exec_timeout: '200ms', write_timeout: '200ms' } },
    late: { handler: 'slow', environment: { exec_timeout: '200ms' } },
  },
  { env: { GREETING: 'of the operator', PORT: '1' } },
);
const { url } = gateway;

const json = async <Type>(response: Response): Promise<Type> => (await response.json()) as Type;
const problem = async (response: Response): Promise<Problem> => {
  assert.is(response.headers.get('content-type'), 'application/problem+json');
  const document = await json<Problem>(response);
  assert.is(document.status, response.status);
  return document;
};

test('a call reaches the function with its method, path, query, headers and body', async () => {
  const response = await fetch(`${url}/function/echo/a%20b/c?x=1&y=%2F`, {
    method: 'PATCH',
    headers: { 'content-type': 'application/json', 'x-mine': 'kept', 'x-call-id': 'my-call', connection: 'close' },
    body: '{"a":[1]}',
  });
  const echo = await json<Echo>(response);
  assert.is(response.status, 200);
  assert.is(echo.method, 'PATCH');
  assert.is(echo.path, '/a%20b/c');
  assert.equal(echo.query, { x: '1', y: '/' });
  assert.equal(echo.body, { a: [1] });
  assert.is(echo.headers['x-mine'], 'kept');
  assert.is(echo.headers['x-call-id'], 'my-call');
  assert.is(echo.headers['x-forwarded-host'], new URL(url).host);
  assert.match(echo.headers['x-start-time'] ?? '', /^[0-9]{19}$/);
});

test('an answer comes back with its status and headers, and with those of the gateway', async () => {
  const response = await fetch(`${url}/function/echo/created`);
  assert.is(response.status, 201);
  assert.is(response.headers.get('x-own'), 'yes');
  assert.match(response.headers.get('x-call-id') ?? '', /^[0-9a-f-]{36}$/);
  assert.match(response.headers.get('x-start-time') ?? '', /^[0-9]{19}$/);
  assert.match(response.headers.get('x-duration-seconds') ?? '', /^[0-9]+\.[0-9]{6}$/);
  assert.equal(await response.json(), { made: true });
});

test('bodies of any bytes go in and streams come out', async () => {
  const body = randomBytes(900_000);
  const digest = await fetch(`${url}/function/echo/digest`, { method: 'POST', body });
  assert.is(await digest.text(), createHash('sha256').update(body).digest('hex'));
  const stream = await fetch(`${url}/function/echo/stream`);
  assert.is(await stream.text(), 'one\ntwo\nthree\n');
});

test('a stream of events comes as it is sent, takes no place of its function, and has no time limit', async () => {
  const response = await fetch(`${url}/function/events/events`);
  assert.is(response.headers.get('content-type'), 'text/event-stream');
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const next = async () => new TextDecoder().decode((await reader.read()).value);
  assert.is(await next(), 'data: one\n\n');
  assert.is((await fetch(`${url}/function/events/created`)).status, 201);
  assert.is(await next(), 'data: two\n\n');
  await reader.cancel();
});

test('a body of unknown length goes through as well', async () => {
  const chunks = [randomBytes(1000), randomBytes(70_000)];
  const response = await fetch(`${url}/function/echo/digest`, {
    method: 'POST',
    body: ReadableStream.from(chunks),
    duplex: 'half',
  } as RequestInit);
  assert.is(await response.text(), createHash('sha256').update(Buffer.concat(chunks)).digest('hex'));
});

test('a function that refuses a body before it has read it is heard', async () => {
  const response = await fetch(`${url}/function/echo`, { method: 'POST', body: randomBytes(6_000_000) });
  assert.is(response.status, 413);
  assert.is((await problem(response)).code, 'request.too_large');
});

test("the API's paths lead to their functions, with and without the slash, whatever the method", async () => {
  const paths: [string, string, string][] = [
    ['GET', '/api/v1/imagebuilder/status', '/'],
    ['GET', '/api/v1/imagebuilder/status/', '/'],
    ['POST', '/api/v1/build_image', '/'],
    ['POST', '/api/v1/build_image/', '/'],
    ['DELETE', '/api/v1/build_image/some-id', '/some-id'],
    ['GET', '/openapi.json', '/openapi.json'],
    ['GET', '/api/v1/openapi.json', '/openapi.json'],
    ['GET', '/api/v1/asyncapi.json', '/asyncapi.json'],
  ];
  for (const [method, path, seen] of paths) {
    const echo = await json<Echo>(await fetch(`${url}${path}?ticket_id=7`, { method }));
    assert.equal([echo.method, echo.path, echo.query], [method, seen, { ticket_id: '7' }], path);
  }
});

test('an unknown path or function is a 404 that lists the known functions', async () => {
  for (const path of ['/nothing', '/page', '/function/', '/function', '/api/v1/build_images', '/async-function']) {
    const response = await fetch(`${url}${path}`);
    assert.is(response.status, 404, path);
    assert.match((await problem(response)).detail, 'build-image');
  }
  for (const kind of ['function', 'async-function']) {
    const response = await fetch(`${url}/${kind}/nobody`, { method: 'POST' });
    assert.is(response.status, 404);
    assert.match((await problem(response)).detail, 'there is no function nobody; there are echo');
  }
});

test('no answer is lost because the function closes the connection right after it', async () => {
  const failed: number[] = [];
  for (let call = 0; call < 200; call++) {
    const response = await fetch(`${url}/function/echo/`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"a":[1]}',
    });
    await response.arrayBuffer();
    if (response.status !== 200) failed.push(response.status);
  }
  assert.equal(failed, []);
});

test('an asynchronous call is answered with 202 at once and its answer goes to the callback URL', async () => {
  await using receiver = await startReceiver();
  const response = await fetch(`${url}/async-function/echo/created?x=1`, {
    method: 'POST',
    headers: { 'x-callback-url': `${receiver.url}/done?for=me` },
    body: 'text',
  });
  assert.is(response.status, 202);
  assert.is(await response.text(), '');
  assert.match(response.headers.get('x-start-time') ?? '', /^[0-9]{19}$/);
  const callback = await eventually('the callback', async () => receiver.received[0]);
  assert.is(callback.method, 'POST');
  assert.is(callback.path, '/done?for=me');
  assert.equal(JSON.parse(callback.body), { made: true });
  assert.is(callback.headers['content-type'], 'application/json');
  assert.is(callback.headers['x-own'], 'yes');
  assert.is(callback.headers['x-call-id'], response.headers.get('x-call-id'));
  assert.is(callback.headers['x-function-name'], 'echo');
  assert.is(callback.headers['x-function-status'], '201');
  assert.match(String(callback.headers['x-duration-seconds']), /^[0-9]+\.[0-9]{6}$/);
  const startTime = String(callback.headers['x-start-time']);
  assert.match(startTime, /^[0-9]{19}$/);
  assert.ok(startTime >= (response.headers.get('x-start-time') ?? ''), 'the function was called later');
});

test('an asynchronous call brings its body, path, query and call id to the function', async () => {
  await using receiver = await startReceiver();
  await fetch(`${url}/async-function/echo/deep/er?x=1`, {
    method: 'POST',
    headers: { 'x-callback-url': receiver.url, 'x-call-id': 'mine', 'content-type': 'application/json' },
    body: ReadableStream.from([Buffer.from('{"a":'), Buffer.from('1}')]),
    duplex: 'half',
  } as RequestInit);
  const callback = await eventually('the callback', async () => receiver.received[0]);
  const echo = JSON.parse(callback.body) as Echo;
  assert.equal([echo.method, echo.path, echo.query, echo.body], ['POST', '/deep/er', { x: '1' }, { a: 1 }]);
  assert.is(echo.headers['x-call-id'], 'mine');
  assert.is(callback.headers['x-call-id'], 'mine');
});

test('a callback URL that is out of order for a moment is tried again', async () => {
  await using receiver = await startReceiver(1);
  await fetch(`${url}/async-function/echo`, { method: 'POST', headers: { 'x-callback-url': receiver.url } });
  const callback = await eventually('the callback', async () => receiver.received[0]);
  assert.is(callback.headers['x-function-status'], '200');
});

test('a function that throws is a 500, also in the callback', async () => {
  assert.is((await fetch(`${url}/function/echo/throw`)).status, 500);
  await using receiver = await startReceiver();
  await fetch(`${url}/async-function/echo/throw`, { method: 'POST', headers: { 'x-callback-url': receiver.url } });
  const callback = await eventually('the callback', async () => receiver.received[0]);
  assert.is(callback.headers['x-function-status'], '500');
});

test('asynchronous calls are POSTs of at most 256000 bytes, with a callback URL that is one', async () => {
  const get = await fetch(`${url}/async-function/echo`);
  assert.is(get.status, 405);
  assert.is(get.headers.get('allow'), 'POST');
  const post = (body: Buffer, headers: Record<string, string> = {}) =>
    fetch(`${url}/async-function/echo`, { method: 'POST', body, headers });
  assert.is((await post(Buffer.alloc(256_000))).status, 202);
  const large = await post(Buffer.alloc(256_001));
  assert.is(large.status, 413);
  assert.match((await problem(large)).detail, '256000');
  for (const callback of ['nonsense', 'ftp://127.0.0.1/x', 'file:///etc/passwd']) {
    assert.is((await post(Buffer.alloc(0), { 'x-callback-url': callback })).status, 400, callback);
  }
});

test('a call beyond max_inflight is refused with 429, an asynchronous one waits', async () => {
  await using receiver = await startReceiver();
  const first = fetch(`${url}/function/single?ms=100000&id=held`);
  await eventually('the first call', async () => gateway.log().includes('"id":"held"'));
  const second = await fetch(`${url}/function/single?ms=0`);
  assert.is(second.status, 429);
  assert.is((await fetch(`${url}/function/single/_/ready`)).status, 429);
  assert.is((await fetch(`${url}/function/single/_/health`)).status, 200);
  assert.is((await problem(second)).code, 'worker.busy');
  assert.ok(Number(second.headers.get('retry-after')) > 0);
  const later = await fetch(`${url}/async-function/single?ms=0&id=later`, {
    method: 'POST',
    headers: { 'x-callback-url': receiver.url },
  });
  assert.is(later.status, 202);
  assert.not(gateway.log().includes('"id":"later"'));
  // Its function dies under the first call, which ends that, and the second is made once the function is back.
  process.kill(gateway.functionPids().single ?? 0, 'SIGKILL');
  const failed = await first;
  assert.is(failed.status, 500);
  assert.is((await problem(failed)).code, 'function.failed');
  const callback = await eventually('the callback', async () => receiver.received[0]);
  assert.is(callback.headers['x-function-status'], '200');
});

test('a call that takes longer than exec_timeout is a 504, and its function learns that its caller is gone', async () => {
  const response = await fetch(`${url}/function/late?ms=3000&id=given-up`);
  assert.is(response.status, 504);
  assert.ok(Number(response.headers.get('x-duration-seconds')) >= 0.2);
  assert.match((await problem(response)).detail, 'exec_timeout of 0.2 s');
  await eventually('the function to notice', async () => /slow lost its caller","id":"given-up/.test(gateway.log()));
});

test('a caller that goes away is noticed by the function', async () => {
  const caller = new AbortController();
  const call = fetch(`${url}/function/single?ms=100000&id=left`, { signal: caller.signal });
  await eventually('the call', async () => gateway.log().includes('"id":"left"'));
  caller.abort();
  await call.catch(() => {});
  await eventually('the function to notice', async () => /slow lost its caller","id":"left/.test(gateway.log()));
});

test('a function that dies is a 500 for its call, and is started again', async () => {
  const before = gateway.functionPids().echo;
  const response = await fetch(`${url}/function/echo/exit`);
  assert.is(response.status, 500);
  assert.is((await problem(response)).code, 'function.failed');
  await eventually('the function to be back', async () => (await fetch(`${url}/healthz`)).ok);
  assert.is((await fetch(`${url}/function/echo`)).status, 200);
  assert.is.not(gateway.functionPids().echo, before);
});

test("the operator's environment wins over the stack's, and the gateway's own URL over both", async () => {
  const environment = await json<Record<string, string>>(await fetch(`${url}/function/echo/environment`));
  assert.is(environment.GREETING, 'of the operator');
  assert.is(environment.IMAGEBUILDER_GATEWAY_URL, url);
  assert.is(environment.OPENFAAS_NAME, 'echo');
  assert.is(environment.PORT, undefined);
});

test('the functions are listed with how often they were called', async () => {
  const before = await json<{ name: string; invocationCount: number }[]>(await fetch(`${url}/system/functions`));
  await fetch(`${url}/function/status`);
  const after = await json<{ name: string; invocationCount: number; replicas: number }[]>(
    await fetch(`${url}/system/functions`),
  );
  assert.equal(
    after.map((entry) => entry.name),
    ['echo', 'status', 'build-image', 'single', 'events', 'late'],
  );
  assert.is(after[1]?.replicas, 1);
  assert.is(after[1]?.invocationCount, (before[1]?.invocationCount ?? 0) + 1);
  for (const method of ['HEAD', 'POST', 'DELETE', 'PUT']) {
    const refused = await fetch(`${url}/system/functions`, { method });
    assert.equal([refused.status, refused.headers.get('allow')], [405, 'GET'], method);
  }
  assert.is((await fetch(`${url}/system/functions/`)).status, 404);
});

test('a function answers by its name in a cluster, too', async () => {
  const echo = await json<Echo>(await fetch(`${url}/function/echo.openfaas-fn/x?y=1`));
  assert.equal([echo.path, echo.query], ['/x', { y: '1' }]);
  await using receiver = await startReceiver();
  const headers = { 'x-callback-url': receiver.url };
  const response = await fetch(`${url}/async-function/echo.openfaas-fn/created`, { method: 'POST', headers });
  assert.is(response.status, 202);
  const callback = await eventually('the callback', async () => receiver.received[0]);
  assert.is(callback.headers['x-function-status'], '201');
  assert.is((await fetch(`${url}/function/echo.elsewhere`)).status, 404);
});

test('the health of a function is answered for it, as by the watchdog', async () => {
  for (const [page, body] of [
    ['/_/health', 'OK'],
    ['/_/health?x=1', 'OK'],
    ['/_/ready', ''],
  ]) {
    const response = await fetch(`${url}/function/echo${page}`);
    assert.equal([response.status, await response.text()], [200, body], page);
  }
  for (const method of ['POST', 'HEAD', 'DELETE']) {
    assert.is((await fetch(`${url}/function/echo/_/health`, { method })).status, 405, method);
  }
  await using receiver = await startReceiver();
  const headers = { 'x-callback-url': receiver.url };
  await fetch(`${url}/async-function/echo/_/ready`, { method: 'POST', headers });
  const callback = await eventually('the callback', async () => receiver.received[0]);
  assert.is(callback.headers['x-function-status'], '405');
  const echo = await json<Echo>(await fetch(`${url}/function/echo/_/healthy`));
  assert.is(echo.path, '/_/healthy');
});

test('paths are read as by the gateway of OpenFaaS: cleaned by a redirect, and with one spelling', async () => {
  const echo = await json<Echo>(await fetch(`${url}/function/echo/a%2Fb%20c`));
  assert.is(echo.path, '/a/b%20c');
  const port = Number(new URL(url).port);
  for (const [method, target, location] of [
    ['GET', '/function/echo//a/../b?x=1', '/function/echo/b?x=1'],
    ['POST', '/function/echo/../single', '/function/single'],
    ['POST', '//async-function//echo', '/async-function/echo'],
  ]) {
    const head = `${method} ${target} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n`;
    const answer = await rawCall(port, head).closed;
    assert.match(answer, /^HTTP\/1\.1 301 /, target);
    assert.ok(answer.includes(`location: ${location}\r\n`), answer);
  }
  const broken = await fetch(`${url}/function/echo/%zz`);
  assert.is(broken.status, 400);
  assert.match((await problem(broken)).detail, 'is not followed by two hexadecimal digits');
});

test('methods that OpenFaaS passes on to no function are refused', async () => {
  const head = 'PROPFIND /function/echo HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n';
  assert.match(await rawCall(Number(new URL(url).port), head).closed, /^HTTP\/1\.1 405 /);
});

test('X-Timeout shortens the time of a call and never lengthens it', async () => {
  const call = (timeout: string) => fetch(`${url}/function/late?ms=3000`, { headers: { 'x-timeout': timeout } });
  for (const [timeout, limit] of [
    ['50ms', 'the X-Timeout of 0.05 s'],
    ['1h', 'its exec_timeout of 0.2 s'],
    ['0s', 'its exec_timeout of 0.2 s'],
    ['nonsense', 'its exec_timeout of 0.2 s'],
  ] as const) {
    const response = await call(timeout);
    assert.is(response.status, 504);
    assert.match((await problem(response)).detail, limit);
  }
  await using receiver = await startReceiver();
  const headers = { 'x-callback-url': receiver.url, 'x-timeout': '20ms' };
  await fetch(`${url}/async-function/late?ms=3000`, { method: 'POST', headers });
  const callback = await eventually('the callback', async () => receiver.received[0]);
  assert.is(callback.headers['x-function-status'], '504');
  assert.match(callback.body, 'the X-Timeout of 0.02 s');
});

test('functions listen where only the user of the gateway can reach them, and nothing is left of that', async () => {
  const { LISTEN_SOCKET = '' } = await json<Record<string, string>>(await fetch(`${url}/function/echo/environment`));
  const directory = LISTEN_SOCKET.replace(/\/[^/]*$/, '');
  assert.ok(existsSync(LISTEN_SOCKET));
  await gateway[Symbol.asyncDispose]();
  assert.not(existsSync(directory));
});

test('a callback URL that the egress rules refuse is not called', async () => {
  await using gateway = await serveStack(
    { echo: { handler: 'echo' } },
    { env: { IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'false' } },
  );
  await using receiver = await startReceiver();
  const response = await fetch(`${gateway.url}/async-function/echo`, {
    method: 'POST',
    headers: { 'x-callback-url': `${receiver.url}/done` },
  });
  assert.is(response.status, 202);
  await eventually('the refusal in the log', async () => /callback failed.*egress rules/.exec(gateway.log())?.[0]);
  assert.is(receiver.received.length, 0);
});

test.run();
