import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { createLog } from '#lib/log.ts';
import { type AttemptLogOptions, openAttemptLog } from '#lib/pipeline/attempt-log.ts';
import type { BuildReporter } from '#lib/pipeline/reporter.ts';
import { type Broker, openBroker } from '#lib/queue/broker.ts';
import { createFileStore } from '#lib/store/file/file-store.ts';
import type { AttemptOptions } from '#lib/worker/attempt.ts';
import { createWorker } from '#lib/worker/worker.ts';
import { startOpenStack } from '../../lab/servers/openstack/openstack.ts';
import { type RabbitMq, startRabbitMq } from '../../lab/servers/rabbitmq.ts';
import { startWatched, type WatchedFunction } from '../../lab/servers/watchdog.ts';
import { connect } from './store-cloud.ts';

/** The log of a build while it runs and afterwards: the real function behind the stand-in for the watchdog, and RabbitMQ. */

interface Context {
  rabbitmq: RabbitMq;
  broker: Broker;
  pod: WatchedFunction;
  url: string;
  directory: string;
}

const test = suite<Context>('live-log');
const log = createLog({ level: 'error', write: () => {} });

test.before(async (context) => {
  context.directory = await mkdtemp(join(tmpdir(), 'imagebuilder-live-log-'));
  context.rabbitmq = await startRabbitMq();
  context.broker = await openBroker({
    ...{
      amqpUrl: context.rabbitmq.url,
      leaseMs: 90_000,
      eventRetentionSeconds: 3_600,
      eventRetentionBytes: 50_000_000,
      log,
    },
  });
  context.pod = await startPod(context);
  context.url = urlOf(context.pod);
});
test.after(async ({ rabbitmq, broker, pod, directory }) => {
  await pod[Symbol.asyncDispose]();
  await broker[Symbol.asyncDispose]();
  await rabbitmq[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

/** A pod of the function, when it answers. */
async function startPod(
  { rabbitmq, directory }: Pick<Context, 'rabbitmq' | 'directory'>,
  env: Readonly<Record<string, string | undefined>> = {},
  name = 'build-image',
) {
  const pod = await startWatched({
    handler: join(import.meta.dirname, `../../functions/${name}/handler.ts`),
    env: {
      IMAGEBUILDER_AMQP_URL: rabbitmq.url,
      IMAGEBUILDER_STORE_DIRECTORY: join(directory, 'store'),
      ...{ healthcheck_interval: '100ms', exec_timeout: '30s', write_timeout: '60s' },
      ...env,
    },
  });
  while ((await fetch(`${urlOf(pod)}/_/health`).catch(() => null))?.status !== 200) await pause(20);
  return pod;
}

const urlOf = ({ address }: WatchedFunction) => `http://127.0.0.1:${address.port}`;

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function submit(url: string, token?: string): Promise<string> {
  const request = {
    ...exampleRequest,
    ticket_id: randomUUID(),
    debconf_selections: [],
    progress_trigger: `p.${randomUUID()}`,
  };
  const response = await fetch(`${url}/`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...bearer(token) },
    body: JSON.stringify(request),
  });
  assert.is(response.status, 202);
  return ((await response.json()) as { build_id: string }).build_id;
}

const bearer = (token?: string): Record<string, string> =>
  token === undefined ? {} : { authorization: `Bearer ${token}` };

/** Takes the build as a worker that does as `runBuild`. */
async function work(
  { broker, directory }: Context,
  runBuild: AttemptOptions['runBuild'],
  stopping = new AbortController().signal,
  {
    storeFor = () => createFileStore(join(directory, 'store')),
    maximumLogBytes = 1024 ** 2,
  }: Partial<Pick<AttemptLogOptions, 'storeFor' | 'maximumLogBytes'>> = {},
) {
  const worker = createWorker({
    ...{
      name: `worker-${randomUUID()}`,
      broker,
      runBuild,
      getJson: async () => ({}),
      deliveries: { add() {} },
      wake() {},
      log,
    },
    discard: async () => {},
    openLog: (build, stop) =>
      openAttemptLog(build, stop, {
        ...{ workDirectory: join(directory, 'work'), maximumLogBytes, secrets: ['canary-secret'], log },
        storeFor,
        live: broker.writeLog({ ...build, maximumBytes: maximumLogBytes }),
      }),
    settings: {
      ...{ heartbeatMs: 1_000, leaseMs: 90_000, maximumAttempts: 3, buildTimeoutMs: 60_000 },
      ...{ cancelPollMs: 60_000, callbackTimeoutMs: 1_000 },
    },
  });
  await worker.takeBuilds({ stopping, deadline: Date.now() + 3_600_000 });
}

/** A build that this test drives: its reporter as soon as it runs, and its end. */
function driven(context: Context, options?: Parameters<typeof work>[3]) {
  const begun = Promise.withResolvers<BuildReporter>();
  const end = Promise.withResolvers<never>();
  const stopping = new AbortController();
  const working = work(
    context,
    async (_build, { reporter, signal }) => {
      begun.resolve(reporter);
      signal.addEventListener('abort', () => end.reject(signal.reason));
      return await end.promise;
    },
    stopping.signal,
    options,
  );
  return {
    reporter: begun.promise,
    fail: (why: string) => end.reject(new Error(why)),
    stop: () => stopping.abort(),
    working,
  };
}

interface Event {
  readonly id: number;
  readonly event: string;
  readonly data: string;
}

/** Reads events until one of them fits, or the stream ends; the ones so far. */
async function follow(url: string, id: string, until: (event: Event) => boolean, lastId?: number): Promise<Event[]> {
  const headers = { accept: 'text/event-stream', ...(lastId === undefined ? {} : { 'last-event-id': String(lastId) }) };
  const response = await fetch(`${url}/${id}/log?follow`, { headers });
  assert.equal([response.status, response.headers.get('content-type')], [200, 'text/event-stream']);
  const events: Event[] = [];
  let rest = '';
  for await (const chunk of (response.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream())) {
    rest += chunk;
    const blocks = rest.split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const field = (name: string) =>
        block
          .split('\n')
          .find((line) => line.startsWith(`${name}: `))
          ?.slice(name.length + 2);
      if (field('data') === undefined) continue;
      const event = { id: Number(field('id')), event: field('event') ?? 'message', data: field('data') ?? '' };
      events.push(event);
      if (until(event)) return events;
    }
  }
  return events;
}

const text = (events: readonly Event[]) =>
  events
    .filter(({ event }) => event === 'message')
    .map(({ data }) => `${data}\n`)
    .join('');
const isEnd = ({ event }: Event) => event === 'end';

/** Asks for parts of a text. `total`: its size as `Content-Range` has it. */
async function assertRanges(url: string, whole: string, total: string): Promise<void> {
  const bytes = Buffer.from(whole);
  const size = bytes.length;
  const parts: [string, number, number][] = [
    ['bytes=0-0', 0, 1],
    ['bytes=0-', 0, size],
    ['bytes=2-9', 2, 10],
    [`bytes=0-${size - 1}`, 0, size],
    [`bytes=${size - 1}-${size + 99}`, size - 1, size],
    ['bytes=-5', size - 5, size],
    [`bytes=-${size + 99}`, 0, size],
  ];
  for (const [range, from, to] of parts) {
    const part = await fetch(url, { headers: { range } });
    const head = [part.status, part.headers.get('content-range'), part.headers.get('content-length')];
    assert.equal(head, [206, `bytes ${from}-${to - 1}/${total}`, String(to - from)], range);
    assert.ok(bytes.subarray(from, to).equals(Buffer.from(await part.arrayBuffer())), range);
  }
  for (const range of [`bytes=${size}-`, `bytes=${size + 7}-${size + 9}`, 'bytes=-0', 'bytes=999999999999999-']) {
    const none = await fetch(url, { headers: { range } });
    assert.equal([none.status, none.headers.get('content-range')], [416, `bytes */${size}`], range);
    assert.is(((await none.json()) as { code: string }).code, 'request.range');
  }
  // Several parts at once, other units and what is none: the whole text, as RFC 9110 allows.
  for (const range of ['bytes=0-1,4-5', 'lines=0-1', 'bytes=5-2', 'bytes=-', 'bytes=x-y', 'bytes=1-2-3', '0-1']) {
    const all = await fetch(url, { headers: { range } });
    assert.equal([all.status, all.headers.get('content-range')], [200, null], range);
    assert.is(await all.text(), whole);
  }
  const conditional = await fetch(url, { headers: { range: 'bytes=0-1', 'if-range': '"x"' } });
  assert.equal([conditional.status, await conditional.text()], [200, whole]);
}

test('the log of a build that waits is empty, and of one that runs it is everything so far', async (context) => {
  const { url } = context;
  const id = await submit(url);
  const queued = await fetch(`${url}/${id}/log`);
  assert.equal([queued.status, await queued.text()], [200, '']);
  const nothing = await fetch(`${url}/${id}/log`, { headers: { range: 'bytes=0-' } });
  assert.equal([nothing.status, nothing.headers.get('content-range')], [416, 'bytes */0']);
  const follower = follow(url, id, isEnd);
  const build = driven(context);
  const reporter = await build.reporter;
  reporter.begin('fetch', 'Fetching');
  reporter.log('✓ <b>canary-secret</b>');
  const first = await follow(url, id, ({ data }) => data.includes('✓'));
  const whole = await fetch(`${url}/${id}/log`);
  assert.is(whole.headers.get('content-type'), 'text/plain; charset=utf-8');
  const soFar = await whole.text();
  assert.is(soFar.replaceAll(/^\S+Z/gm, 'TIME'), 'TIME fetch Fetching\nTIME fetch ✓ <b>[secret]</b>\n');
  assert.is(text(first), soFar);
  const size = Buffer.byteLength(soFar);
  assert.is(first.at(-1)?.id, size);
  await assertRanges(`${url}/${id}/log`, soFar, '*');
  reporter.log('second');
  await follow(url, id, ({ data }) => data.endsWith('second'));
  const more = await fetch(`${url}/${id}/log`, { headers: { range: `bytes=${size}-` } });
  assert.match(await more.text(), /^\S+Z fetch second\n$/);
  // A reader who comes again gets the lines that are new to them, once.
  const again = follow(url, id, isEnd, size);
  const many = Array.from({ length: 200 }, () => follow(url, id, isEnd));
  reporter.log('third');
  build.fail('as asked for');
  await build.working;
  const all = await follower;
  assert.match(text(all), /fetch third\n\S+Z fetch failed: .*\n$/);
  assert.equal(JSON.parse(all.at(-1)?.data ?? ''), { build_id: id, state: 'failed' });
  assert.is(text(await again), text(all).slice(soFar.length));
  for (const events of await Promise.all(many)) assert.equal(events, all);
  // From the store now.
  const stored = await fetch(`${url}/${id}/log`);
  assert.is(await stored.text(), text(all));
  assert.is(Number(stored.headers.get('content-length')), all.at(-1)?.id);
  await assertRanges(`${url}/${id}/log`, text(all), String(all.at(-1)?.id));
  assert.equal(await follow(url, id, isEnd), all);
  assert.equal(await follow(url, id, isEnd, size), all.slice(2));
});

test('the log goes on with the next attempt, and after RabbitMQ was away', async (context) => {
  const { url, rabbitmq } = context;
  const id = await submit(url);
  const follower = follow(url, id, isEnd);
  const first = driven(context);
  (await first.reporter).begin('fetch', 'of the first worker');
  await follow(url, id, ({ data }) => data.includes('first worker'));
  first.stop();
  await first.working;
  const second = driven(context);
  const reporter = await second.reporter;
  reporter.begin('fetch', 'of the second worker');
  const seen = await follow(url, id, ({ data }) => data.includes('second worker'));
  await rabbitmq.restart({ kill: true });
  reporter.log('after the restart');
  await follow(url, id, ({ data }) => data.includes('restart'), seen.at(-1)?.id);
  second.fail('as asked for');
  await second.working;
  const all = await follower;
  const lines = text(all)
    .replaceAll(/^\S+Z /gm, '')
    .split('\n')
    .slice(0, 4);
  assert.equal(lines, [
    'fetch of the first worker',
    '- attempt 2 begins',
    'fetch of the second worker',
    'fetch after the restart',
  ]);
  assert.equal(await follow(url, id, isEnd, seen.at(-1)?.id), all.slice(seen.length), 'also after the end');
});

test('a log that is too large has a plain mark where it was cut: while it runs, in the store, and for followers of either', async (context) => {
  const { url } = context;
  const id = await submit(url);
  const maximumLogBytes = 256 * 1024;
  const build = driven(context, { maximumLogBytes });
  const reporter = await build.reporter;
  reporter.begin('install', 'Installing');
  reporter.log('m'.repeat(3 * 1024 ** 2));
  const follower = follow(url, id, isEnd);
  const count = 9_000;
  for (let line = 0; line < count; line += 1) reporter.log(`tiny ${line}`);
  const liveMark =
    '(the log is larger than IMAGEBUILDER_MAXIMUM_LOG: the end of it is in the store when the build has ended)';
  const running = await follow(url, id, ({ data }) => data === liveMark);
  const live = await (await fetch(`${url}/${id}/log`)).text();
  assert.is(text(running), live);
  assert.ok(live.length <= maximumLogBytes + liveMark.length + 1, `${live.length}`);
  const numbers = (whole: string) =>
    [...whole.matchAll(/^\S+Z install tiny (\d+)$/gm)].map(([, number]) => Number(number));
  const begun = numbers(live);
  assert.equal(begun, [...begun.keys()], 'the beginning, without a gap');
  assert.ok(begun.length > 1_000 && begun.length < count);
  const [, long = ''] = live.split('\n');
  assert.ok(Buffer.byteLength(long) <= 5 * 1024 && long.endsWith('…'), 'a line of 3 MiB is cut, and says so');
  await assertRanges(`${url}/${id}/log`, live, '*');

  build.fail('as asked for');
  await build.working;
  const followed = await follower;
  assert.is(text(followed), live, 'the mark ends it');
  const response = await fetch(`${url}/${id}/log`);
  const stored = await response.text();
  assert.ok(stored.length <= maximumLogBytes + 200, `${stored.length}`);
  const [mark, leftOut] =
    /^\((\d+) lines left out here: the log is larger than IMAGEBUILDER_MAXIMUM_LOG\)$/m.exec(stored) ?? [];
  assert.ok(mark, stored.slice(0, 200));
  const [head, tail] = stored.split(`${mark}\n`).map(numbers);
  const wanted = Array.from({ length: count }, (_, number) => number);
  const gap = Number(leftOut);
  assert.equal(head, wanted.slice(0, head?.length));
  assert.equal(tail, wanted.slice((head?.length ?? 0) + gap), 'and the end, with as many lines between as it says');
  assert.match(stored, /failed: .*\n$/);
  const again = await follow(url, id, isEnd);
  assert.is(text(again), stored);
  await assertRanges(`${url}/${id}/log`, stored, String(Buffer.byteLength(stored)));

  // A reader who was cut off goes on in the text that it has read, whose places are others than those of the other one.
  const endsOf = (events: readonly Event[]) => new Set(events.map(({ id: place }) => place));
  for (const [events, others] of [
    [followed, endsOf(again)],
    [again, endsOf(followed)],
  ] as const) {
    const from = events.findLastIndex(({ id: place }, index) => index < events.length - 20 && !others.has(place));
    assert.ok(from > events.length / 2, 'a place beyond the first half, which both texts have');
    assert.equal(await follow(url, id, isEnd, events[from]?.id), events.slice(from + 1));
  }
});

test('the log that lies in Swift is a redirect to a URL that gives it without a token, and is followed from there', async (context) => {
  const { url } = context;
  await using cloud = await startOpenStack({ services: ['swift'] });
  const { swiftStore } = await connect(cloud, { settings: { swiftTemporaryUrlKey: 'a key for downloads' } });
  const id = await submit(url);
  const build = driven(context, { storeFor: () => swiftStore });
  (await build.reporter).begin('fetch', 'into Swift');
  build.fail('as asked for');
  await build.working;
  const response = await fetch(`${url}/${id}/log`, { redirect: 'manual' });
  const location = response.headers.get('location') ?? '';
  assert.equal([response.status, response.headers.get('cache-control')], [307, 'no-store']);
  assert.ok(location.startsWith(`${cloud.swift.url}/AUTH_`), location);
  const packed = await fetch(location);
  assert.is(packed.status, 200);
  const stored = gunzipSync(Buffer.from(await packed.arrayBuffer())).toString();
  assert.match(stored, /^\S+Z fetch into Swift\n/);
  const followed = await follow(url, id, isEnd);
  assert.is(text(followed), stored, 'following it, as long as RabbitMQ has the lines');

  // Afterwards it is the function that may read Swift.
  await using images = await startPod(context, { ...cloud.environment, IMAGEBUILDER_STORE: 'swift' }, 'images');
  assert.equal(await follow(urlOf(images), id, isEnd), followed);
  const [, second] = followed;
  assert.equal(await follow(urlOf(images), id, isEnd, followed[0]?.id), [second, ...followed.slice(2)]);
  const plain = await fetch(`${urlOf(images)}/${id}/log`);
  assert.equal([plain.status, await plain.text()], [200, stored]);
  const part = await fetch(`${urlOf(images)}/${id}/log`, { headers: { range: 'bytes=5-' } });
  assert.equal([part.status, await part.text()], [206, stored.slice(5)]);
  await swiftStore.remove(id, { signal: new AbortController().signal });
  assert.is((await fetch(`${urlOf(images)}/${id}/log?follow`)).status, 404);
});

test('a build that is not there has no log, and a query that is not known is refused', async ({ url }) => {
  assert.is((await fetch(`${url}/${randomUUID()}/log`)).status, 404);
  assert.is((await fetch(`${url}/nonsense/log`)).status, 404);
  const id = await submit(url);
  assert.is((await fetch(`${url}/${id}/log?follows`)).status, 400);
  assert.is((await fetch(`${url}/${id}/log`, { method: 'POST' })).status, 405);
});

test('500 logs are followed at a time, and one more when one of them has gone', async (context) => {
  // A pod of its own: the followers of the other tests may still be leaving theirs.
  await using pod = await startPod(context);
  const id = await submit(urlOf(pod));
  const open = async () => {
    const gone = new AbortController();
    const response = await fetch(`${urlOf(pod)}/${id}/log?follow`, {
      headers: { accept: 'text/event-stream' },
      signal: gone.signal,
    });
    return { response, gone };
  };
  const followers: Awaited<ReturnType<typeof open>>[] = [];
  for (let group = 0; group < 10; group += 1) followers.push(...(await Promise.all(Array.from({ length: 50 }, open))));
  assert.equal(new Set(followers.map(({ response }) => response.status)), new Set([200]));
  const { response } = await open();
  assert.equal([response.status, response.headers.get('retry-after')], [429, '5']);
  assert.is(((await response.json()) as { code: string }).code, 'worker.busy');
  assert.is((await fetch(`${urlOf(pod)}/${id}/log`)).status, 200, 'without following it');
  followers.pop()?.gone.abort();
  for (let next = await open(); ; next = await open()) {
    followers.push(next);
    if (next.response.status === 200) break;
    await pause(50);
  }
  for (const { gone } of followers) gone.abort();
});

test('a caller has no log of another caller', async (context) => {
  const secrets = join(context.directory, 'secrets');
  await mkdir(secrets);
  const [lander, other, reader] = ['l', 'o', 'r'].map((letter) => letter.repeat(32));
  const callers = [
    { name: 'lander', role: 'submit', token: lander },
    { name: 'other', role: 'submit', token: other },
    { name: 'reader', role: 'read', token: reader },
  ];
  await writeFile(join(secrets, 'imagebuilder-tokens'), JSON.stringify({ callers }));
  await using pod = await startPod(context, { IMAGEBUILDER_SECRETS_DIRECTORY: secrets });
  const id = await submit(urlOf(pod), lander);
  const answerTo = async (token: string | undefined, query: string) => {
    const gone = new AbortController();
    const response = await fetch(`${urlOf(pod)}/${id}/log${query}`, { headers: bearer(token), signal: gone.signal });
    gone.abort();
    return response.status;
  };
  for (const query of ['', '?follow']) {
    const statuses = await Promise.all([lander, other, reader, undefined].map((token) => answerTo(token, query)));
    assert.equal(statuses, [200, 404, 200, 401], query);
  }
});

test.run();
