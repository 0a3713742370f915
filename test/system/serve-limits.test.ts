import { once } from 'node:events';
import { Agent, createServer as createHttpServer, request } from 'node:http';
import { createServer } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { listen } from '../../lab/servers/listen.ts';
import { postHead, rawCall } from '../../lab/servers/raw-http.ts';
import { eventually, serveStack } from './serve/command.ts';
import { startReceiver } from './serve/receiver.ts';

/** Callers of `imagebuilder serve` who take what they can and give nothing. */

const gateway = await serveStack({
  'build-worker': {
    handler: 'slow',
    environment: {
      max_inflight: '1',
      MAX_BODY_BYTES: '0',
      exec_timeout: '4h',
      read_timeout: '4h',
      write_timeout: '4h',
    },
  },
  single: { handler: 'slow', environment: { max_inflight: '1', BODY_STALL_SECONDS: '1' } },
  echo: { handler: 'echo' },
});
const { url } = gateway;
const port = Number(new URL(url).port);
test.after(() => gateway[Symbol.asyncDispose]());

const isEcho = async () => assert.is((await fetch(`${url}/function/echo`)).status, 200);

/** How often a function was called. */
async function callsOf(name: string): Promise<number> {
  const list = (await (await fetch(`${url}/system/functions`)).json()) as { name: string; invocationCount: number }[];
  return list.find((entry) => entry.name === name)?.invocationCount ?? 0;
}

test('a wake with a body is refused at once', async () => {
  const heads = ['/function/build-worker', '/async-function/build-worker'].flatMap((path) => [
    postHead(path, 10),
    `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n`,
  ]);
  for (const text of await Promise.all(heads.map((head) => rawCall(port, head).closed))) {
    assert.match(text, /^HTTP\/1\.1 413 /);
    assert.match(text, 'the function build-worker takes no body');
  }
});

test('a body that does not come takes no place of its function and ends as a 408', async () => {
  const stalled = [
    rawCall(port, postHead('/function/single', 10)),
    rawCall(port, postHead('/function/single', 10), 'abc'),
  ];
  await Promise.all(stalled.map(({ socket }) => once(socket, 'ready')));
  for (let round = 0; round < 5; round++) {
    assert.is((await fetch(`${url}/function/single?ms=0`, { method: 'POST' })).status, 200);
  }
  for (const text of await Promise.all(stalled.map(({ closed }) => closed))) {
    assert.match(text, /^HTTP\/1\.1 408 /);
    assert.match(text, '"code":"request.timeout"');
  }
});

test('1500 bodies that do not come are cut for those that do, so that their memory stays bounded', async () => {
  const part = Buffer.alloc(190_000);
  for (const path of ['/async-function/echo', '/function/echo']) {
    const stalled = Array.from({ length: 1_500 }, () => rawCall(port, postHead(path, 200_000), part));
    // 32 MiB of memory for bodies hold fewer than two hundred of these.
    await Promise.all(stalled.slice(0, 1_300).map(({ closed }) => closed));
    await isEcho();
    const digest = await fetch(`${url}/function/echo/digest`, { method: 'POST', body: Buffer.alloc(200_000) });
    assert.is(digest.status, 200);
    for (const { socket } of stalled) socket.destroy();
  }
});

test('1500 connections that say nothing are cut for one that does', async () => {
  const silent = Array.from({ length: 1_500 }, () => rawCall(port));
  await Promise.all(silent.slice(0, 400).map(({ closed }) => closed));
  await isEcho();
  for (const { socket } of silent) socket.destroy();
});

test('10,000 wakes merge into one that waits, and the next one is taken as well', async () => {
  const held = fetch(`${url}/function/build-worker?ms=3600000&id=build`);
  held.catch(() => {});
  await eventually('the build', async () => gateway.log().includes('"id":"build"'));
  const before = await callsOf('build-worker');
  const agent = new Agent({ keepAlive: true, maxSockets: 20 });
  const wake = async (): Promise<number | undefined> => {
    const call = request(`${url}/async-function/build-worker`, { method: 'POST', agent }).end();
    const [answer] = await once(call, 'response');
    await once(answer.resume(), 'end');
    return answer.statusCode;
  };
  const answers = await Promise.all(Array.from({ length: 10_000 }, wake));
  agent.destroy();
  assert.equal([...new Set(answers)], [202]);
  // The build ends with its process; the wake that waits is made once that is back. `slow` ends it at once.
  process.kill(gateway.functionPids()['build-worker'] ?? 0, 'SIGKILL');
  await held;
  await eventually('the wake', async () => (await callsOf('build-worker')) > before);
  await eventually('its end', async () => (await fetch(`${url}/function/build-worker`)).status === 200);
  assert.ok((await callsOf('build-worker')) <= before + 3, 'one wake of 10,000 is made, and the calls above');
});

test('a wake takes no callback URL', async () => {
  const headers = { 'x-callback-url': 'http://127.0.0.1:9/' };
  const response = await fetch(`${url}/async-function/build-worker`, { method: 'POST', headers });
  assert.is(response.status, 400);
  assert.match(((await response.json()) as { detail: string }).detail, 'only wakes it');
});

test('a callback receiver that never answers holds up neither calls nor other callbacks', async () => {
  await using silent = await listen(createServer());
  const to = `http://localhost:${silent.port}/`;
  await using receiver = await startReceiver();
  const call = (callback: string) =>
    fetch(`${url}/async-function/echo`, { method: 'POST', headers: { 'x-callback-url': callback } });
  const answers = await Promise.all(Array.from({ length: 200 }, () => call(to)));
  assert.equal([...new Set(answers.map(({ status }) => status))], [202]);
  assert.is((await call(receiver.url)).status, 202);
  await eventually('the callback of the last call', async () => receiver.received[0]);
  await eventually('what is too much for one host to be dropped', async () =>
    gateway.log().includes('too many callbacks wait for its host'),
  );
});

test('a callback receiver that never ends its answer is left', async () => {
  let sent = 0;
  let left = false;
  const chatty = createHttpServer((_request, response) => {
    response.once('close', () => {
      left = true;
    });
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536))) sent += 65_536;
    };
    response.on('drain', more);
    more();
  });
  await using listening = await listen(chatty);
  const to = `${listening.url}/`;
  await fetch(`${url}/async-function/echo`, { method: 'POST', headers: { 'x-callback-url': to } });
  await eventually('its end', async () => left);
  assert.ok(sent < 20_000_000, `${sent} bytes were sent`);
});

test.run();
