import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { call, type FunctionProcess, startFunction } from '../../../lab/servers/function.ts';
import { startWatched } from '../../../lab/servers/watchdog.ts';

/** Streams of server-sent events through the template, alone and behind the stand-in for the watchdog. */

const handler = `${import.meta.dirname}/handlers/example.ts`;
const accept = 'text/event-stream';

async function open(address: FunctionProcess['address'], method = 'GET'): Promise<IncomingMessage> {
  const path = '/events?text=first';
  const outgoing = request({ ...address, path, method, agent: false, headers: { accept } }).end();
  const [incoming] = await once(outgoing, 'response');
  return incoming as IncomingMessage;
}

test('the head of a stream of events comes before its first event, which comes before the end', async () => {
  await using server = await startFunction({ handler });
  const events = await open(server.address);
  const { 'content-type': type, 'cache-control': cache, 'x-accel-buffering': buffering, ...rest } = events.headers;
  assert.equal([type, cache, buffering, rest['x-mine']], ['text/event-stream', 'no-store', 'no', 'kept']);
  assert.is(rest['content-length'], undefined);
  await call(server.address, '/release');
  const [first] = await once(events, 'data');
  assert.is(first.toString(), 'data: first\n\n');
  events.destroy();
  await server.line('source ended');
  const head = await open(server.address, 'HEAD');
  assert.is(head.headers['content-type'], 'text/event-stream');
});

test('open streams hold no place of max_inflight, and a function that stops ends them in order', async () => {
  await using server = await startFunction({ handler, env: { max_inflight: '1' } });
  const streams = await Promise.all([open(server.address), open(server.address), open(server.address)]);
  assert.is((await call(server.address, '/text')).status, 200);
  const ends = streams.map((stream) => once(stream.resume(), 'end'));
  server.child.kill('SIGTERM');
  await Promise.all(ends);
  assert.is(await server.exited, 0);
  assert.is(server.lines.filter((line) => line.includes('source ended')).length, 3);
  assert.not(server.lines.some((line) => line.includes('"level":"error"')));
});

test('behind the watchdog too, and its exec_timeout does not cut them', async () => {
  const env = { healthcheck_interval: '100ms', exec_timeout: '1ms' };
  await using pod = await startWatched({ handler, env });
  while ((await call(pod.address, '/_/health').catch(() => null))?.status !== 200) await sleep(5);
  const events = await open(pod.address);
  assert.is(events.headers['content-type'], 'text/event-stream');
  const end = once(events.resume(), 'end');
  pod.child.kill('SIGTERM');
  await end;
  assert.is(await pod.exited, 0);
});

test.run();
