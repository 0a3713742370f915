import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { call } from '../../../lab/servers/function.ts';
import { startWatched, type WatchedFunction } from '../../../lab/servers/watchdog.ts';

/** The template behind of-watchdog, whose stand-in is in lab/servers/: its start and its end. */

const handler = `${import.meta.dirname}/handlers/example.ts`;
const patienceMs = 60_000;
/** For tests that are not about the end. */
const soonOver = { healthcheck_interval: '100ms' };

const health = async ({ address }: WatchedFunction) =>
  (await call(address, '/_/health').catch(() => null))?.status ?? 'not there';

async function untilHealth(pod: WatchedFunction, wanted: number): Promise<void> {
  for (const end = Date.now() + patienceMs; (await health(pod)) !== wanted; await sleep(5)) {
    if (Date.now() > end) throw new Error(`health never became ${wanted}:\n${pod.lines.join('\n')}`);
  }
}

async function untilLine(pod: WatchedFunction, text: string): Promise<void> {
  for (const end = Date.now() + patienceMs; !pod.lines.some((line) => line.includes(text)); await sleep(5)) {
    if (Date.now() > end) throw new Error(`"${text}" was never written:\n${pod.lines.join('\n')}`);
  }
}

test('a pod is not ready before its function listens, and every call from then on is answered', async () => {
  const folder = await mkdtemp(`${tmpdir()}/imagebuilder-template-`);
  // In a pod with half a processor a function takes some 3 s to load.
  const source = `await new Promise((resolve) => setTimeout(resolve, 1_000)); export default () => 'loaded';`;
  await writeFile(`${folder}/slow.ts`, source);
  await using pod = await startWatched({ handler: `${folder}/slow.ts`, env: soonOver });
  const seen = new Set<number | string>();
  for (let answered = false; !answered; await sleep(2)) {
    const ready = await health(pod);
    seen.add(ready);
    if (ready !== 200) continue;
    const calls = await Promise.all(Array.from({ length: 20 }, () => call(pod.address, '/')));
    assert.equal([...new Set(calls.map(({ status, body }) => `${status} ${body}`))], ['200 loaded']);
    answered = true;
  }
  assert.ok(seen.has(503), 'the watchdog is there before the function, and says that it is not ready');
  await rm(folder, { recursive: true });
});

test('SIGTERM without a call: calls are taken meanwhile, close() has its time, and both end with 0', async () => {
  await using pod = await startWatched({ handler });
  await untilHealth(pod, 200);
  pod.child.kill('SIGTERM');
  await untilHealth(pod, 503);
  assert.is((await call(pod.address, '/text')).status, 200);
  assert.is(await pod.exited, 0);
  assert.ok(
    pod.lines.some((line) => line.includes('"message":"closed"')),
    pod.lines.join('\n'),
  );
});

test('SIGTERM while a call goes on whose caller has hung up: it ends, and close() has its time', async () => {
  await using pod = await startWatched({ handler });
  await untilHealth(pod, 200);
  const outgoing = request({ ...pod.address, path: '/until-disconnected-and-stopping', agent: false });
  outgoing.on('error', () => {}).end();
  await untilLine(pod, '"message":"waiting"');
  outgoing.destroy();
  await untilLine(pod, '"message":"disconnected"');
  pod.child.kill('SIGTERM');
  assert.is(await pod.exited, 0);
  const ends = pod.lines.filter((line) => line.includes('handed back') || line.includes('"closed"'));
  assert.is(ends.length, 2, pod.lines.join('\n'));
});

test('SIGTERM during a call: it is answered though it takes longer than healthcheck_interval', async () => {
  await using pod = await startWatched({ handler });
  await untilHealth(pod, 200);
  const outgoing = request({ ...pod.address, path: '/long-after-stopping', agent: false }).end();
  await untilLine(pod, '"message":"waiting"');
  pod.child.kill('SIGTERM');
  const [incoming] = await once(outgoing, 'response');
  assert.is(incoming.statusCode, 200);
  incoming.resume();
  assert.is(await pod.exited, 0);
});

test('a stream that fails never looks whole, where its length is known or it is not long', async () => {
  await using pod = await startWatched({ handler, env: soonOver });
  await untilHealth(pod, 200);
  const small = await call(pod.address, '/generator');
  assert.equal([small.headers['content-length'], small.body.toString()], ['2', 'ab']);
  const empty = await call(pod.address, '/empty-stream');
  assert.equal([empty.status, empty.headers['content-length']], [200, '0']);
  const large = await call(pod.address, '/large-stream');
  assert.is(large.body.length, 64 * 65_536);
  assert.ok(large.body.every((byte, index) => byte === Math.floor(index / 65_536)));
  assert.is((await call(pod.address, '/stream-fails-later')).status, 500);
  for (const path of ['/stream-too-short', '/long-stream-fails']) {
    await call(pod.address, path).then(
      () => assert.unreachable('the answer looked whole'),
      (error: NodeJS.ErrnoException) => assert.is(error.code, 'ECONNRESET', path),
    );
  }
  const events = await call(pod.address, '/generator', { headers: { accept: 'text/event-stream' } });
  assert.equal([events.headers['content-length'], events.body.toString()], [undefined, 'ab']);
});

test.run();
