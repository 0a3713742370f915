import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { call, type FunctionProcess, startFunction } from '../../../lab/servers/function.ts';

/** The event that a handler gets of a request: bodies, paths, queries, headers. */

const handler = `${import.meta.dirname}/handlers/example.ts`;
const maximum = 100_000;
let server: FunctionProcess;

test.before(async () => {
  server = await startFunction({ handler, env: { MAX_BODY_BYTES: String(maximum) } });
});
test.after(async () => {
  await server[Symbol.asyncDispose]();
});

const post = (body: string | Uint8Array, type?: string, path = '/echo') =>
  call(server.address, path, { method: 'POST', body, headers: type === undefined ? {} : { 'content-type': type } });
const echo = async (...args: Parameters<typeof post>) => JSON.parse((await post(...args)).body.toString());

/** Sends bytes as they are and reads until the server closes the connection. */
async function raw(...parts: (string | Buffer)[]): Promise<string> {
  const { port } = server.address as { port: number };
  const socket = connect(port, '127.0.0.1');
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  for (const part of parts) socket.write(part);
  await once(socket, 'close');
  return text;
}

test('JSON bodies are parsed, whatever their parameters and suffix', async () => {
  assert.equal((await echo('{"a":[1]}', 'application/json')).body, { a: [1] });
  assert.equal((await echo('\ufeff{"a":"ü"}', 'Application/JSON; charset=utf-8')).body, { a: 'ü' });
  assert.is((await echo('false', 'application/cloudevents+json')).body, false);
});

test('text is a string, anything else is bytes', async () => {
  assert.is((await echo('grüße', 'text/csv')).body, 'grüße');
  const bytes = { bytes: Buffer.from('a=b').toString('base64') };
  assert.equal((await echo('a=b', 'application/x-www-form-urlencoded')).body, bytes);
  assert.equal((await echo('a=b')).body, bytes);
});

test('no body is undefined, whatever the type says', async () => {
  const event = await echo('', 'application/json');
  assert.is(event.hasBody, false);
  assert.is(event.rawLength, 0);
});

for (const [what, body] of [
  ['cut short', '{"a":'],
  ['not UTF-8', Buffer.from([0x22, 0xff, 0x22])],
] as const) {
  test(`JSON that is ${what} is a 400 problem`, async () => {
    const answer = await post(body, 'application/json');
    assert.is(answer.status, 400);
    assert.is(answer.headers['content-type'], 'application/problem+json');
    const { detail, ...problem } = JSON.parse(answer.body.toString());
    assert.match(detail, /^the body is not JSON: /);
    assert.equal(problem, {
      type: 'urn:imagebuilder:error:request.malformed',
      title: 'The request body is not JSON',
      status: 400,
      code: 'request.malformed',
      fault: 'request',
      retryable: false,
    });
  });
}

test('a body of exactly the limit is taken', async () => {
  assert.is((await echo(Buffer.alloc(maximum))).rawLength, maximum);
});

test('a body that says it is over the limit is a 413 problem, and the connection is closed', async () => {
  const answer = await post(Buffer.alloc(maximum + 1));
  assert.is(answer.status, 413);
  assert.is(answer.headers.connection, 'close');
  assert.equal(JSON.parse(answer.body.toString()), {
    type: 'urn:imagebuilder:error:request.too_large',
    title: 'The request body is too large',
    status: 413,
    detail: `the body is larger than ${maximum} bytes, the most that is taken`,
    code: 'request.too_large',
    fault: 'request',
    retryable: false,
  });
});

test('a body of unknown length is given up when it passes the limit, and its sender still gets the answer', async () => {
  const chunk = Buffer.concat([Buffer.from('8000\r\n'), Buffer.alloc(0x8000), Buffer.from('\r\n')]);
  const head = 'POST /echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n';
  // The body never ends: only the server can end this.
  const text = await raw(head, ...Array.from({ length: 100 }, () => chunk));
  assert.match(text, /^HTTP\/1\.1 413 /);
  assert.match(text, /"code":"request\.too_large"/);
});

test('a caller that asks first gets 413 instead of 100 Continue', async () => {
  const text = await raw(
    `POST /echo HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: ${maximum + 1}\r\n\r\n`,
  );
  assert.match(text, /^HTTP\/1\.1 413 /);
  const accepted = await raw(
    'POST /echo HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok',
  );
  assert.match(accepted, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /);
});

test('of a repeated query parameter the last counts; names of Object.prototype are names like others', async () => {
  const event = await echo('', undefined, '/echo?a=1&a=%C3%BC&b&__proto__=x');
  assert.equal(Object.entries(event.query), [
    ['a', 'ü'],
    ['b', ''],
    ['__proto__', 'x'],
  ]);
});

for (const [target, path] of [
  ['/a%2Fb/../c%', '/a%2Fb/../c%'],
  ['//other.example/x', '//other.example/x'],
  ['http://other.example/x?y', '/x'],
  ['http://other.example', '/'],
  ['*', '/'],
] as const) {
  test(`the request target ${target} has the path ${path}`, async () => {
    const text = await raw(`OPTIONS ${target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n`);
    assert.is(JSON.parse(text.split('\r\n\r\n')[1] ?? '').path, path);
  });
}

test('headers have lower-case names, and repeated ones are joined', async () => {
  const text = await raw(
    'GET /echo HTTP/1.1\r\nhost: test\r\nX-Start-Time: 1\r\nx-start-time: 2\r\nReferer: a\r\nreferer: b\r\nconnection: close\r\n\r\n',
  );
  const { headers } = JSON.parse(text.split('\r\n\r\n')[1] ?? '');
  assert.is(headers['x-start-time'], '1, 2');
  assert.is(headers.referer, 'a, b');
});

test('bytes that are not HTTP are refused', async () => {
  assert.match(await raw('hello\r\n\r\n'), /^HTTP\/1\.1 400 /);
});

test.run();
