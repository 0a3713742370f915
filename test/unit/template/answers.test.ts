import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Answer, call, type FunctionProcess, startFunction } from '../../../lab/servers/function.ts';

/** The answers to values that a handler returns, and to errors that it throws. */

const handler = `${import.meta.dirname}/handlers/example.ts`;
let server: FunctionProcess;

test.before(async () => {
  server = await startFunction({ handler });
});
test.after(async () => {
  await server[Symbol.asyncDispose]();
});

const get = (path: string, method = 'GET') => call(server.address, path, { method });
const json = (answer: Answer) => JSON.parse(answer.body.toString());

test('an object or array goes out as JSON', async () => {
  const answer = await get('/json');
  assert.is(answer.status, 200);
  assert.is(answer.headers['content-type'], 'application/json');
  assert.is(answer.headers['content-length'], '13');
  assert.equal(json(answer), [1, { two: 2 }]);
  assert.is((await get('/null')).body.toString(), 'null');
});

test('a string goes out as UTF-8 text', async () => {
  const answer = await get('/text');
  assert.is(answer.headers['content-type'], 'text/plain; charset=utf-8');
  assert.is(answer.body.toString(), 'grüße');
});

test('bytes go out as they are', async () => {
  const answer = await get('/binary');
  assert.is(answer.headers['content-type'], 'application/octet-stream');
  assert.equal([...answer.body], [0, 255, 10]);
});

test('undefined is an empty 204', async () => {
  const answer = await get('/nothing');
  assert.is(answer.status, 204);
  assert.is(answer.headers['content-length'], undefined);
  assert.is(answer.body.length, 0);
});

test('status and headers of the handler win', async () => {
  const answer = await get('/problem');
  assert.is(answer.status, 422);
  assert.is(answer.headers['content-type'], 'application/problem+json');
  assert.is(answer.headers['x-extra'], 'yes');
});

test('a status that allows no body carries none', async () => {
  const answer = await get('/no-content');
  assert.is(answer.status, 204);
  assert.is(answer.body.length, 0);
});

test('headers of the connection, and a length that is not true, are not taken from the handler', async () => {
  const answer = await get('/forwarded-headers');
  assert.is(answer.headers['transfer-encoding'], undefined);
  assert.is(answer.headers['content-length'], '4');
  assert.is(answer.body.toString(), 'four');
});

test('streams and async iterables are streamed', async () => {
  assert.is((await get('/stream')).body.toString(), 'one two');
  assert.is((await get('/generator')).body.toString(), 'ab');
  assert.is((await get('/empty-stream')).body.length, 0);
  const large = await get('/large-stream');
  assert.is(large.headers['content-type'], 'application/octet-stream');
  assert.is(large.body.length, 64 * 65_536);
  assert.ok(large.body.every((byte, index) => byte === Math.floor(index / 65_536)));
});

test('HEAD has the headers of the answer and no body, of a stream too', async () => {
  const head = await get('/json', 'HEAD');
  assert.is(head.headers['content-length'], '13');
  assert.is(head.body.length, 0);
  const stream = await get('/endless', 'HEAD');
  assert.is(stream.status, 200);
  assert.is(stream.body.length, 0);
  assert.is((await get('/endless-ended')).status, 200);
});

for (const [path, logged] of [
  ['/throw', 'the secret inside'],
  ['/throw-string', 'only a string'],
  ['/throw-circular', 'odd'],
  ['/bad-status', '1000 is not the status of an answer'],
  ['/bad-header', 'Invalid character in header content'],
  ['/function', 'which is no answer'],
  ['/stream-fails-first', 'no source'],
  ['/stream-destroyed', 'destroyed before it began'],
] as const) {
  test(`${path}: a failure is a 500 problem, its reason one line in the log and nowhere else`, async () => {
    const answer = await get(`${path}?token=hush`);
    assert.is(answer.status, 500);
    assert.is(answer.headers['content-type'], 'application/problem+json');
    assert.equal(json(answer), {
      type: 'urn:imagebuilder:error:internal',
      title: 'An unexpected error',
      status: 500,
      detail: 'the function failed; its log says why',
      code: 'internal',
      fault: 'service',
      retryable: true,
    });
    const line = await server.line(`"path":"${path}"`);
    assert.ok(line.includes(logged), line);
    assert.not.ok(line.includes('hush'), line);
  });
}

test('the log of a failure holds the stack', async () => {
  const line = await server.line('the secret inside');
  assert.match(JSON.parse(line).error.stack, /handlers\/example\.ts:\d+/);
});

for (const path of ['/stream-fails-later', '/stream-too-short']) {
  test(`${path}: a stream that ends badly cuts the connection`, async () => {
    await get(path).then(
      () => assert.unreachable('the answer looked whole'),
      (error: NodeJS.ErrnoException) => assert.is(error.code, 'ECONNRESET'),
    );
  });
}

test('the server goes on after all that', async () => {
  assert.is((await get('/text')).status, 200);
});

test.run();
