import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { call, type FunctionProcess, startFunction } from '../../../lab/servers/function.ts';
import { listen } from '../../../lab/servers/listen.ts';
import { postHead, rawCall } from '../../../lab/servers/raw-http.ts';
import { readBody } from '../../../template/node24-ts/read-body.ts';

/** Callers who begin a request and do not finish it. */

const handler = `${import.meta.dirname}/handlers/example.ts`;
const portOf = (server: FunctionProcess) => (server.address as { port: number }).port;

test('a body that does not come takes no place of max_inflight and ends as a 408 problem', async () => {
  await using server = await startFunction({
    handler,
    env: { max_inflight: '1', BODY_STALL_SECONDS: '1', BODY_TIMEOUT_SECONDS: '2' },
  });
  const stalled = Array.from({ length: 5 }, () => rawCall(portOf(server), postHead('/echo', 10), 'abc'));
  const chunked = rawCall(portOf(server), 'POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n');
  const dripping = rawCall(portOf(server), postHead('/echo', 1_000));
  const drip = setInterval(() => dripping.socket.write('x'), 100);
  await Promise.all([...stalled, chunked, dripping].map(({ socket }) => once(socket, 'ready')));
  await sleep(100); // So long the heads may take to arrive.
  for (let round = 0; round < 10; round++) assert.is((await call(server.address, '/text')).status, 200);
  for (const text of await Promise.all([...stalled, chunked, dripping].map(({ closed }) => closed))) {
    assert.match(text, /^HTTP\/1\.1 408 /);
    assert.match(text, '"code":"request.timeout"');
  }
  clearInterval(drip);
});

test('MAX_BODY_BYTES=0: whatever promises a body is refused before it comes', async () => {
  await using server = await startFunction({ handler, env: { MAX_BODY_BYTES: '0' } });
  const refused = [
    rawCall(portOf(server), postHead('/echo', 1)),
    rawCall(portOf(server), 'POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n'),
    rawCall(portOf(server), postHead('/echo', 1, { expect: '100-continue' })),
  ];
  for (const { closed } of refused) {
    const text = await closed;
    assert.match(text, /^HTTP\/1\.1 413 /);
    assert.match(text, 'this function takes no body');
  }
  const headers = { 'content-length': '0' };
  assert.is((await call(server.address, '/echo', { method: 'POST', headers })).status, 200);
  assert.is((await call(server.address, '/echo')).status, 200);
});

test('however many bodies do not come, the memory for them is bounded and others get through', async () => {
  await using server = await startFunction({ handler });
  const part = Buffer.alloc(500_000);
  const stalled = Array.from({ length: 200 }, () => rawCall(portOf(server), postHead('/echo', 900_000), part));
  const cut = stalled.map(({ closed }) => closed);
  // 32 MiB hold some sixty of them; those that came first are cut for those that come later.
  await Promise.all(cut.slice(0, 100));
  const body = Buffer.alloc(900_000);
  const answer = await call(server.address, '/echo', { method: 'POST', body });
  assert.is(JSON.parse(answer.body.toString()).rawLength, body.length);
  for (const { socket } of stalled) socket.destroy();
});

test('however many connections say nothing, others get through', async () => {
  await using server = await startFunction({ handler });
  const silent = Array.from({ length: 1_100 }, () => rawCall(portOf(server)));
  await Promise.all(silent.slice(0, 50).map(({ closed }) => closed));
  assert.is((await call(server.address, '/text')).status, 200);
  assert.is(silent.at(-1)?.socket.destroyed, false);
  for (const { socket } of silent) socket.destroy();
});

test('a body in chunks of one byte takes no more memory than another', async () => {
  const size = 20_000;
  let held = 0;
  const server = createServer(async (request, response) => {
    const limits = { maximumBytes: 1_000_000, stallMs: 10_000, totalMs: 10_000 };
    const body = await readBody(request, limits, (bytes) => {
      held += bytes;
      return true;
    });
    response.end(String(body.length));
  });
  await using listening = await listen(server);
  const { closed } = rawCall(
    listening.port,
    'POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n',
    `${'1\r\nx\r\n'.repeat(size)}0\r\n\r\n`,
  );
  assert.match(await closed, `\r\n\r\n${size}`);
  assert.ok(held <= 2 * size, `${held} bytes are held`);
});

test.run();
