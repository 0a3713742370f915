import { createServer, type Server, type ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#lib/log.ts';
import { createDeliveries, type DeliveriesOptions, type Delivery } from '#lib/worker/deliveries.ts';
import { listen } from '../../../lab/servers/listen.ts';
import { completedEvent } from '../queue/build-event.ts';

/** Receivers on different addresses of loopback are different hosts. */
async function startReceiver(host: string, answer: (response: ServerResponse, calls: number) => void) {
  const builds: string[] = [];
  const server: Server = createServer((request, response) => {
    builds.push(request.headers['x-call-id'] as string);
    request.resume();
    answer(response, builds.length);
  });
  const listening = await listen(server, { host });
  return { ...listening, url: `${listening.url}/hook?key=abc`, builds };
}

const silent = () => {};
const fine = (response: ServerResponse) => void response.end();

let builds = 0;
function deliveryTo(url: string): Delivery {
  builds += 1;
  const event = completedEvent({ build_id: `00000000-0000-4000-8000-${String(builds).padStart(12, '0')}` });
  return { callback: { url, callId: event.build_id, trace: null }, event, durationSeconds: 1 };
}

function start(options: Partial<DeliveriesOptions> = {}) {
  const settled = new Set<string>();
  const lines: string[] = [];
  const deliveries = createDeliveries({
    post: async (url, body, headers, { signal }) => {
      const answer = await fetch(url, { method: 'POST', body, headers, signal });
      return answer.status;
    },
    signingKey: null,
    timeoutMs: 60_000,
    settled: async (buildId) => void settled.add(buildId),
    log: createLog({ write: (line) => lines.push(line) }),
    ...options,
  });
  return {
    settled,
    lines,
    add: (delivery: Delivery) => deliveries.add(delivery),
    [Symbol.asyncDispose]: () => deliveries[Symbol.asyncDispose](),
  };
}

async function until(done: () => boolean): Promise<void> {
  const limit = AbortSignal.timeout(30_000);
  while (!done()) {
    limit.throwIfAborted();
    await sleep(5);
  }
}

test('a receiver that fails is tried again, one that refuses is not, and the log shows no query', async () => {
  await using failing = await startReceiver('127.0.0.1', (response, calls) => {
    response.statusCode = calls === 1 ? 503 : 200;
    response.end();
  });
  await using refusing = await startReceiver('127.0.0.2', (response) => void response.writeHead(404).end());
  await using deliveries = start();
  deliveries.add(deliveryTo(failing.url));
  deliveries.add(deliveryTo(refusing.url));
  await until(() => deliveries.settled.size === 2);
  assert.equal([failing.builds.length, refusing.builds.length], [2, 1]);
  assert.match(deliveries.lines.join(), 'it answered 404');
  assert.not.match(deliveries.lines.join(), 'abc');
});

test('a receiver that stays away is given up, and that counts as settled', async () => {
  await using deliveries = start({ timeoutMs: 1 });
  const delivery = deliveryTo('http://127.0.0.1:9/');
  deliveries.add(delivery);
  await until(() => deliveries.settled.size === 1);
  assert.ok(deliveries.settled.has(delivery.event.build_id));
  assert.match(deliveries.lines.join(), 'callback given up');
});

test('a silent receiver of many builds has few attempts at a time, and others do not wait for it', async () => {
  await using mute = await startReceiver('127.0.0.3', silent);
  await using other = await startReceiver('127.0.0.1', fine);
  await using deliveries = start({ limits: { atOnce: 5, atOncePerReceiver: 4, attemptMs: 60_000 } });
  for (let count = 0; count < 50; count += 1) deliveries.add(deliveryTo(mute.url));
  for (let count = 0; count < 50; count += 1) deliveries.add(deliveryTo(other.url));
  await until(() => deliveries.settled.size === 50);
  assert.is(other.builds.length, 50);
  assert.is(mute.builds.length, 4);
});

test('many silent hosts take their attempts in turn, and a new receiver comes before their second ones', async () => {
  await using stack = new AsyncDisposableStack();
  const mutes: Awaited<ReturnType<typeof startReceiver>>[] = [];
  let attempts: number[] = [];
  const other = stack.use(
    await startReceiver('127.0.0.1', (response) => {
      attempts = mutes.map(({ builds }) => builds.length);
      response.end();
    }),
  );
  // One attempt at a time: all receivers are in one line. The new one comes while the second is being tried.
  const deliveries = start({ limits: { atOnce: 1, attemptMs: 700 } });
  const silentUntilSecond = () => {
    if (mutes[1]?.builds.length === 1 && mutes[2]?.builds.length === 0) deliveries.add(deliveryTo(other.url));
  };
  for (const last of [3, 4, 5, 6]) mutes.push(stack.use(await startReceiver(`127.0.0.${last}`, silentUntilSecond)));
  stack.use(deliveries);
  for (const mute of mutes) deliveries.add(deliveryTo(mute.url));
  await until(() => deliveries.settled.size === 1);
  assert.equal(attempts, [1, 1, 1, 1]);
});

test('beyond what is kept, callbacks are left to the lease, and a build is delivered once at a time', async () => {
  await using mute = await startReceiver('127.0.0.3', silent);
  await using other = await startReceiver('127.0.0.1', fine);
  await using deliveries = start({ limits: { kept: 4, keptPerReceiver: 2, attemptMs: 60_000 } });
  const first = deliveryTo(mute.url);
  for (const delivery of [first, first, deliveryTo(mute.url), deliveryTo(mute.url)]) deliveries.add(delivery);
  deliveries.add(deliveryTo(other.url));
  await until(() => deliveries.settled.size === 1 && mute.builds.length === 2);
  assert.is(mute.builds.filter((build) => build === first.event.build_id).length, 1);
  assert.is(deliveries.lines.filter((line) => line.includes('too many callbacks wait')).length, 1);
});

test('disposing breaks off what is under way at once, and nothing of that counts as settled', async () => {
  await using mute = await startReceiver('127.0.0.3', silent);
  const deliveries = start();
  deliveries.add(deliveryTo(mute.url));
  deliveries.add(deliveryTo('http://127.0.0.1:9/'));
  await until(() => mute.builds.length === 1 && deliveries.lines.join().includes('trying again'));
  await deliveries[Symbol.asyncDispose]();
  assert.is(deliveries.settled.size, 0);
});

test.run();
