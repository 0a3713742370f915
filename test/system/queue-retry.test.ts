import { randomUUID } from 'node:crypto';
import { type ConsumeMessage, connect } from 'amqplib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { Problem } from '#lib/api/problem.ts';
import type { BuildRequestInput } from '#lib/api/request.ts';
import { Accepted, BuildStatus, Status } from '#lib/api/status.ts';
import { type Caller, createCallers, digestToken } from '#lib/callers.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { createLog } from '#lib/log.ts';
import { type Broker, openBroker } from '#lib/queue/broker.ts';
import type { TakenJob } from '#lib/queue/jobs.ts';
import { queues } from '#lib/queue/topology.ts';
import { openTracer } from '#lib/trace/tracer.ts';
import { waitFor } from '#lib/wait-for.js';
import type { AttemptOptions } from '#lib/worker/attempt.ts';
import { createDeliveries } from '#lib/worker/deliveries.ts';
import { createWorker } from '#lib/worker/worker.ts';
import { buildImage } from '../../functions/build-image/build-image.ts';
import { status } from '../../functions/status/status.ts';
import { type RabbitMq, startRabbitMq } from '../../lab/servers/rabbitmq.ts';
import type { FunctionContext, FunctionEvent, Handler } from '../../template/node24-ts/function.ts';
import { startServer } from '../unit/fetch/with-server.ts';
import { startSpanReceiver } from '../unit/trace/span-receiver.ts';

/** A build's request, steps and attempts in its status, and retries: the functions on a real RabbitMQ, without images. */

const test = suite<{ rabbitmq: RabbitMq; broker: Broker }>('queue-retry');
const log = createLog({ level: 'error', write: () => {} });

const open = ({ url }: RabbitMq) =>
  openBroker({
    ...{ amqpUrl: url, leaseMs: 90_000, eventRetentionSeconds: 3_600, eventRetentionBytes: 50_000_000, log },
  });

test.before(async (context) => {
  context.rabbitmq = await startRabbitMq();
  context.broker = await open(context.rabbitmq);
});
test.after(async ({ rabbitmq, broker }) => {
  await broker[Symbol.asyncDispose]();
  await rabbitmq[Symbol.asyncDispose]();
});

/** Calls a handler as the template does. */
async function call(
  handler: Handler,
  options: Partial<FunctionEvent>,
): Promise<{ status: number; headers: Readonly<Record<string, string>>; body: unknown }> {
  let code = 200;
  const answered: Record<string, string> = {};
  const context: FunctionContext = {
    status: (value) => {
      code = value;
      return context;
    },
    headers: (values) => {
      Object.assign(answered, values);
      return context;
    },
    stopping: new AbortController().signal,
    disconnected: new AbortController().signal,
    answerNow: async () => {},
  };
  const rawBody = Buffer.from(options.body === undefined ? '' : JSON.stringify(options.body));
  const nothing = { method: 'GET', path: '/', query: {}, headers: {}, body: undefined, rawBody };
  const answer = await handler({ ...nothing, ...options }, context);
  const body: unknown = Buffer.isBuffer(answer) ? JSON.parse(answer.toString()) : answer;
  return { status: code, headers: answered, body };
}

const trio: readonly (Partial<Caller> & { name: string })[] = [
  { name: 'lander' },
  { name: 'stranger' },
  { name: 'monitor', role: 'read' },
  { name: 'boss', role: 'operate' },
];

/** The functions for callers of whom each one's token is its name. */
function service(broker: Broker, holders = trio) {
  const audits: Record<string, unknown>[] = [];
  const write = (line: string) => {
    const { level, time: _time, message: _message, ...audit } = JSON.parse(line);
    if (level === 'audit') audits.push(audit);
  };
  const tokenHolders = holders.map((holder) => ({
    ...{ role: 'submit' as const, limits: {}, ...holder, tokenDigests: [digestToken(holder.name)] },
  }));
  const callers = createCallers({ token: null, tokenHolders });
  let wakes = 0;
  const wake = () => {
    wakes += 1;
  };
  const shared = { broker, log: createLog({ level: 'error', write }), callers, publicUrl: '' };
  const builder = buildImage({ ...shared, storeDirectory: '/nonexistent', wake });
  const as = (name: string, more: Record<string, string> = {}) => ({
    headers: { authorization: `Bearer ${name}`, 'content-type': 'application/json', ...more },
  });
  return {
    audits,
    wakes: () => wakes,
    submit: async (name: string, body: unknown) =>
      Accepted.parse((await call(builder, { method: 'POST', body, ...as(name) })).body),
    show: async (name: string, id: string) =>
      BuildStatus.parse((await call(builder, { path: `/${id}`, ...as(name) })).body),
    retry: (name: string, id: string, options: Partial<FunctionEvent> = {}) =>
      call(builder, { method: 'POST', path: `/${id}/retry`, ...as(name), ...options }),
    ask: (options: Partial<FunctionEvent>) => call(builder, { ...as('lander'), ...options }),
    list: async (name: string, query: Record<string, string>) =>
      Status.parse((await call(status(shared), { query, ...as(name) })).body),
    as,
  };
}

const request = (values: Partial<BuildRequestInput> = {}) => ({
  ...{ ...exampleRequest, debconf_selections: [], progress_trigger: `p.${randomUUID()}`, ...values },
});

/** Takes jobs as a worker that builds in this way, until none waits. */
async function work(
  broker: Broker,
  name: string,
  runBuild: AttemptOptions['runBuild'],
  more: Partial<Pick<AttemptOptions, 'deliveries' | 'log' | 'onLoss' | 'tracer'>> = {},
): Promise<void> {
  const worker = createWorker({
    ...{ name, broker, runBuild, getJson: async () => ({}), deliveries: { add() {} }, wake() {}, log, ...more },
    discard: async () => {},
    openLog: () => Promise.reject(new Error('the log is not of this test')),
    settings: {
      ...{ heartbeatMs: 1_000, leaseMs: 90_000, maximumAttempts: 3, buildTimeoutMs: 60_000 },
      ...{ cancelPollMs: 60_000, callbackTimeoutMs: 1_000 },
    },
  });
  await worker.takeBuilds({ stopping: new AbortController().signal, deadline: Date.now() + 3_600_000 });
}

const failing: AttemptOptions['runBuild'] = async (_build, { reporter }) => {
  reporter.begin('fetch', 'fetching');
  reporter.begin('inspect', 'looking');
  throw new ImageBuilderError('upstream.unreachable', 'no route');
};

const codeOf = (answer: { status: number; body: unknown }) => [answer.status, Problem.parse(answer.body).code];

async function takeAll(broker: Broker): Promise<TakenJob['job'][]> {
  const jobs: TakenJob['job'][] = [];
  for (let taken = await broker.jobs.take(); taken !== null; taken = await broker.jobs.take()) {
    jobs.push(taken.job);
    await taken.drop();
  }
  return jobs;
}

/** Everything that the events stream holds, as text. */
async function readEvents({ url }: RabbitMq): Promise<string> {
  const connection = await connect(url);
  try {
    const channel = await connection.createConfirmChannel();
    await channel.prefetch(1_000);
    let text = '';
    const end = `{"end":"${randomUUID()}"}`;
    const read = Promise.withResolvers<void>();
    const take = (message: ConsumeMessage | null) => {
      if (message === null) return;
      text += message.content.toString('utf8');
      channel.ack(message);
      if (text.endsWith(end)) read.resolve();
    };
    await channel.consume(queues.events, take, { arguments: { 'x-stream-offset': 'first' } });
    channel.sendToQueue(queues.events, Buffer.from(end));
    await read.promise;
    return text;
  } finally {
    await connection.close();
  }
}

test('a build’s status has its request, the times of its steps and the end of each attempt, at every replica', async ({
  broker,
  rabbitmq,
}) => {
  const { submit, show } = service(broker);
  const body = request({ callback_url: 'https://hooks.example/services/hidden-path?sig=canary-query' });
  const { build_id } = await submit('lander', body);
  const queued = await show('lander', build_id);
  assert.equal([queued.attempts, queued.steps], [[], []]);
  let tries = 0;
  await work(broker, 'w-1', async (build, context) => {
    tries += 1;
    if (tries > 1) return await failing(build, context);
    context.reporter.begin('fetch', 'fetching');
    throw new ImageBuilderError('guest.failed', 'the guest is gone');
  });
  assert.is(tries, 2);
  await using replica = await open(rabbitmq);
  await replica.ledger.ready();
  for (const at of [service(broker), service(replica)]) {
    const shown = await at.show('lander', build_id);
    const { ticket_id: _, progress_trigger: __, callback_url: ___, ...sent } = body;
    assert.equal(shown.request, {
      ...{ ...sent, cancel_url: 'http://lander.example.org/…', callback_url: 'https://hooks.example/…' },
      ...{ foreign_architectures: [], allow_downgrades: false, output_format: 'qcow2' },
      ...{ boot_check: false, reuse: true },
      not_kept: [{ path: '$.callback_url', reason: 'secret' }],
    });
    assert.equal(
      shown.attempts?.map(({ attempt, worker, outcome, step, error_code }) => [
        ...[attempt, worker, outcome, step, error_code],
      ]),
      [
        [1, 'w-1', 'lost', 'fetch', 'guest.failed'],
        [2, 'w-1', 'failed', 'inspect', 'upstream.unreachable'],
      ],
    );
    assert.equal(
      shown.steps?.map(({ step, ended_at }) => [step, ended_at !== null]),
      [
        ['fetch', true],
        ['inspect', true],
      ],
    );
    assert.is(shown.attempts?.[1]?.ended_at, shown.finished_at);
    assert.not.match(JSON.stringify(shown), /canary|hidden/);
    assert.equal((await at.list('lander', { build_id })).finished[0]?.attempts, shown.attempts);
    assert.is((await at.list('lander', {})).finished[0]?.request, undefined, 'lists stay small');
  }
});

test('a retry is a new build with the same request, of the same caller, linked to the former; twice is once', async ({
  broker,
  rabbitmq,
}) => {
  const at = service(broker);
  const body = request({ package_list: ['hello'], disk_size: '20GiB', callback_url: 'https://caller.example/done' });
  const { build_id: former } = await at.submit('lander', body);
  await work(broker, 'w-2', failing);
  const wakes = at.wakes();
  const answer = await at.retry('lander', former, at.as('lander', { 'x-call-id': 'call-2' }));
  assert.is(answer.status, 202);
  const { build_id, retry_of, ticket_id } = Accepted.parse(answer.body);
  assert.equal([retry_of, ticket_id], [former, body.ticket_id]);
  assert.is.not(build_id, former);
  assert.is(at.wakes(), wakes + 1);
  const { path, status: code, ...audit } = at.audits.at(-1) ?? {};
  assert.equal([path, code], ['/{build_id}/retry', 202]);
  assert.equal([audit.build_id, audit.retry_of, audit.ticket_id], [build_id, former, body.ticket_id]);
  await using replica = await open(rabbitmq);
  await replica.ledger.ready();
  for (const { name, to } of [
    { name: 'lander', to: at },
    { name: 'boss', to: service(replica) },
  ]) {
    const again = await to.retry(name, former);
    assert.equal([again.status, Accepted.parse(again.body).build_id], [200, build_id], name);
  }
  const submitted = await at.submit('lander', body);
  assert.is(submitted.build_id, build_id, 'the request itself is in work, too');
  const jobs = await takeAll(broker);
  assert.equal(
    jobs.map((job) => job.build_id),
    [build_id],
  );
  const { ppa_list, package_list, base_image, disk_size, cancel_url, progress_trigger } = jobs[0]?.request ?? {};
  const { image_type, url_list, series } = base_image ?? {};
  assert.equal(
    { ppa_list, package_list, disk_size, cancel_url, progress_trigger, base_image: { image_type, url_list, series } },
    {
      ...{ ppa_list: body.ppa_list, package_list: ['hello'], disk_size: '20GiB', cancel_url: body.cancel_url },
      ...{ progress_trigger: body.progress_trigger, base_image: body.base_image },
    },
  );
  assert.equal(jobs[0]?.callback, { url: 'https://caller.example/done', call_id: 'call-2' });
  const shown = await service(replica).show('lander', build_id);
  assert.equal([shown.retry_of, shown.caller, shown.state], [former, 'lander', 'queued']);
  assert.is((await at.show('lander', former)).state, 'failed', 'the former build stays what it was');
});

test('one build comes of a retry that is sent fifty times at once to two replicas, and of a retry by an operator', async ({
  broker,
  rabbitmq,
}) => {
  const { submit } = service(broker);
  const { build_id: former } = await submit('lander', request());
  await work(broker, 'w-3', failing);
  await using replica = await open(rabbitmq);
  await replica.ledger.ready();
  const sides = [service(broker), service(replica)];
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, index) => sides[index % 2]?.retry(index % 3 === 0 ? 'boss' : 'lander', former)),
  );
  assert.is(new Set(answers.map((answer) => Accepted.parse(answer?.body).build_id)).size, 1);
  assert.is(answers.filter((answer) => answer?.status === 202).length, 1);
  const [job, ...more] = (await takeAll(broker)).filter(({ build_id }) => !broker.ledger.isOver(build_id));
  assert.equal([job?.submission?.caller, more], ['lander', []], 'it stays its caller’s');
  const ended = await sides[0]?.show('lander', job?.build_id ?? '');
  assert.is(ended?.retry_of, former);
});

test('a retry is refused with its reason, and then nothing is built', async ({ broker }) => {
  const at = service(broker, [...trio, { name: 'small', limits: { unfinished_builds: 1, packages: 2 } }]);
  assert.equal(codeOf(await at.retry('lander', randomUUID())), [404, 'build.not_found']);
  assert.equal(codeOf(await at.retry('lander', 'noble')), [404, 'build.not_found']);
  const waiting = await at.submit('lander', request());
  const refused = await at.retry('lander', waiting.build_id);
  assert.equal(codeOf(refused), [409, 'build.unfinished']);
  assert.match(Problem.parse(refused.body).detail, `the build ${waiting.build_id} is queued`);
  let whileRunning: { status: number; body: unknown } | undefined;
  await work(broker, 'w-4', async (build, context) => {
    whileRunning = await at.retry('lander', waiting.build_id);
    return await failing(build, context);
  });
  assert.match(Problem.parse(whileRunning?.body).detail, `the build ${waiting.build_id} is running`);

  assert.equal(codeOf(await at.retry('stranger', waiting.build_id)), [404, 'build.not_found']);
  assert.equal(codeOf(await at.retry('monitor', waiting.build_id)), [403, 'request.forbidden']);
  assert.equal(codeOf(await at.retry('nobody', waiting.build_id)), [401, 'request.unauthorized']);
  assert.equal(codeOf(await at.ask({ path: `/${waiting.build_id}/retry` })), [405, 'request.method']);
  assert.equal(codeOf(await at.ask({ method: 'POST', path: `/${waiting.build_id}/retries` })), [
    ...[404, 'request.not_found'],
  ]);
  const changed = await at.retry('lander', waiting.build_id, { body: { package_list: [] } });
  assert.equal(codeOf(changed), [400, 'request.invalid']);
  assert.equal(Problem.parse(changed.body).faults?.[0]?.path, '$.package_list');
  const text = { body: {}, headers: { authorization: 'Bearer lander', 'content-type': 'text/plain' } };
  assert.equal(codeOf(await at.retry('lander', waiting.build_id, text)), [415, 'request.media_type']);
  const badHeader = at.as('lander', { 'x-callback-url': 'ftp://x' });
  assert.equal(codeOf(await at.retry('lander', waiting.build_id, badHeader)), [400, 'request.invalid']);

  const first = await at.submit('small', request({ package_list: ['aa', 'bb'] }));
  await work(broker, 'w-5', failing);
  const other = await at.submit('small', request({ package_list: [] }));
  assert.equal(codeOf(await at.retry('small', first.build_id)), [429, 'caller.limit']);
  assert.equal(codeOf(await at.retry('boss', first.build_id)), [429, 'caller.limit'], 'it takes a place of its owner');
  const stricter = service(broker, [{ name: 'small', limits: { packages: 1 } }]);
  assert.equal(codeOf(await stricter.retry('small', first.build_id)), [400, 'request.invalid']);
  assert.equal(
    (await takeAll(broker)).map(({ build_id }) => build_id),
    [other.build_id],
  );
});

test('another request with the ticket in work is a conflict', async ({ broker }) => {
  const at = service(broker);
  const body = request();
  const { build_id } = await at.submit('lander', body);
  await work(broker, 'w-6', failing);
  await at.submit('lander', { ...body, package_list: ['another'] });
  assert.equal(codeOf(await at.retry('lander', build_id)), [409, 'request.conflict']);
  await takeAll(broker);
});

test('a request of which a secret is not known any more is not repeated, and the events stream has no secret', async ({
  broker,
  rabbitmq,
}) => {
  const at = service(broker);
  const fields = (answer: { status: number; body: unknown }) => {
    assert.equal(codeOf(answer), [409, 'build.unrepeatable']);
    const { faults, detail } = Problem.parse(answer.body);
    assert.match(detail, 'submit it again');
    assert.not.match(JSON.stringify(answer.body), 'canary');
    return faults?.map(({ path }) => path);
  };
  const cases: [Partial<BuildRequestInput>, string[]][] = [
    [{ debconf_selections: ['a a/password password canary'] }, ['$.debconf_selections']],
    [
      {
        base_image: { ...exampleRequest.base_image, url_list: ['http://i.example/a', 'http://i.example/b?X=canary'] },
        cancel_url: 'http://lander.example/?token=canary',
      },
      ['$.base_image.url_list[1]', '$.cancel_url'],
    ],
    [{ callback_url: 'http://caller.example/?token=canary' }, ['$.callback_url']],
    [
      { package_list: Array.from({ length: 1024 }, (_, index) => `libpackage-number-${index}`) },
      ['$.package_list', '$.hold_packages'],
    ],
  ];
  for (const [values, missing] of cases) {
    const { build_id } = await at.submit('lander', request(values));
    await work(broker, 'w-7', failing);
    assert.equal(fields(await at.retry('lander', build_id)), missing);
    if (missing[0] !== '$.callback_url') continue;
    const header = at.as('lander', { 'x-callback-url': 'http://caller.example/?token=another' });
    assert.is((await at.retry('lander', build_id, header)).status, 202, 'the header stands for it');
    assert.equal(
      (await takeAll(broker)).map(({ callback }) => callback?.url),
      ['http://caller.example/?token=another'],
    );
  }
  const stream = await readEvents(rabbitmq);
  assert.match(stream, 'libpackage-number-1', 'requests are in the stream');
  assert.match(stream, 'a/password');
  assert.not.match(stream, 'canary');
});

test('a build that a request to cancel has ended, and one that was completed, are repeated as well', async ({
  broker,
}) => {
  const at = service(broker);
  const { build_id } = await at.submit('lander', request({ ticket_id: 9 }));
  await at.ask({ method: 'DELETE', path: `/${build_id}` });
  assert.match(Problem.parse((await at.retry('lander', build_id)).body).detail, 'it is being cancelled');
  await work(broker, 'w-8', failing);
  assert.equal(
    (await at.show('lander', build_id)).attempts?.map(({ outcome }) => outcome),
    ['cancelled'],
  );
  const { status: code, body } = await at.retry('lander', build_id, { body: {} });
  assert.equal([code, Accepted.parse(body).ticket_id], [202, 9]);
  await work(broker, 'w-8', async (build) => ({
    image: {
      ...{ id: build.buildId, location: 'file:///x', store: 'file', name: 'x', size: 1, format: 'qcow2' },
      checksums: { sha256: '0'.repeat(64), sha512: '0'.repeat(128) },
    },
    artifacts: [],
  }));
  const second = Accepted.parse(body).build_id;
  assert.is((await at.show('lander', second)).state, 'completed');
  const third = await at.retry('lander', second);
  assert.equal([third.status, Accepted.parse(third.body).retry_of], [202, second]);
  await takeAll(broker);
});

test('a build stays in the trace of its submission: job, events, callback, log lines and audit', async ({
  broker,
  rabbitmq,
}) => {
  const at = service(broker);
  const client = await connect(rabbitmq.url);
  const channel = await client.createChannel();
  const trigger = `p.${randomUUID()}`;
  await channel.assertExchange(trigger, 'fanout', { autoDelete: true });
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, trigger, '');
  await using receiver = await startServer((_request, response) => response.end());
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
  const parent = `00-${traceId}-00f067aa0ba902b7-01`;
  const trace = { traceparent: parent, tracestate: 'vendor=t61rcWkgMzE' };
  const body = request({ progress_trigger: trigger, callback_url: `${receiver.url}/done` });
  const submitted = await at.ask({ method: 'POST', body, ...at.as('lander', trace) });
  const { build_id } = Accepted.parse(submitted.body);
  const spanOf = (traceparent: unknown) => {
    const match = /^00-(\w+)-(\w+)-01$/.exec(String(traceparent));
    assert.is(match?.[1], traceId);
    return match?.[2];
  };
  const call = spanOf(submitted.headers.traceparent);
  assert.is.not(call, '00f067aa0ba902b7', 'the call is an operation of its own');
  const { trace_id, span_id } = at.audits.at(-1) ?? {};
  assert.equal([trace_id, span_id], [traceId, call]);

  const again = await at.ask({ method: 'POST', body, ...at.as('lander') });
  assert.is(again.headers.traceparent, submitted.headers.traceparent, 'the same build, in the trace of its submission');
  const job = await channel.get(queues.builds);
  assert.ok(job !== false);
  channel.nack(job);
  assert.ok(await waitFor(async () => (await broker.jobs.depth()) > 0, 30_000), 'the job is back in the queue');
  const { headers } = job.properties;
  assert.equal([spanOf(headers?.traceparent), headers?.tracestate], [call, trace.tracestate]);

  const lines: Record<string, unknown>[] = [];
  const workerLog = createLog({ level: 'info', write: (line) => lines.push(JSON.parse(line)) });
  await using deliveries = createDeliveries({
    post: async (url, text, sent) => (await fetch(url, { method: 'POST', body: text, headers: sent })).status,
    ...{ signingKey: null, timeoutMs: 10_000, log: workerLog },
    settled: (id) => broker.recordNotified(id, 'callback'),
  });
  await using tracing = await startSpanReceiver();
  const endpoint = { endpoint: `${tracing.url}/v1/traces`, timeoutMs: 10_000 };
  const tracer = await openTracer({ ...endpoint, service: 'imagebuilder-build-worker', secrets: [], log: workerLog });
  let tries = 0;
  const build: AttemptOptions['runBuild'] = async (given, context) => {
    tries += 1;
    if (tries > 1) return await failing(given, context);
    throw new ImageBuilderError('guest.failed', 'the guest is gone');
  };
  const losses: string[] = [];
  const onLoss = (cause: string) => losses.push(cause);
  await work(broker, 'w-trace', build, { deliveries, log: workerLog, onLoss, tracer });
  assert.equal(losses, ['guest'], 'an attempt whose guest is gone is a loss, and one that fails is none');
  await tracer[Symbol.asyncDispose]();
  await broker.ledger.when(build_id, ({ notified }) => notified.includes('callback'), 10_000);

  const spans = new Map<number, Set<unknown>>();
  for (let event = await channel.get(queue); event !== false; event = await channel.get(queue)) {
    const { attempt, traceparent, tracestate } = event.properties.headers ?? {};
    assert.is(tracestate, trace.tracestate);
    spans.set(attempt, (spans.get(attempt) ?? new Set()).add(spanOf(traceparent)));
  }
  assert.equal([...spans.keys()], [0, 1, 2]);
  const ids = [...spans.values()].flatMap((each) => [...each]);
  assert.equal([ids.length, new Set(ids).size, ids[0]], [3, 3, call], 'one for the call, and one for each attempt');
  const logged = lines.filter(({ message }) => ['build taken', 'build ended'].includes(String(message)));
  assert.equal(
    logged.map((line) => [line.trace_id, line.span_id]),
    [ids[1], ids[2], ids[2]].map((id) => [traceId, id]),
  );
  const told = tracing.spans.map(({ spanId, parentSpanId, attributes, status }) => [
    ...[spanId, parentSpanId, attributes['imagebuilder.build.state'], status.message],
  ]);
  assert.equal(told, [
    [ids[1], call, 'queued', 'guest.failed: the guest is gone'],
    [ids[2], call, 'failed', 'upstream.unreachable: no route'],
  ]);
  const [sent] = receiver.headers;
  assert.equal([spanOf(sent?.traceparent), sent?.tracestate], [ids[2], trace.tracestate]);
  await client.close();
});

test('a submission without a valid trace begins one', async ({ broker }) => {
  const at = service(broker);
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01';
  const ids = [];
  for (const headers of [{ traceparent, tracestate: 'a=1' }, {}] as const) {
    const answer = await at.ask({ method: 'POST', body: request(), ...at.as('lander', headers) });
    ids.push(/^00-(\w{32})-\w{16}-01$/.exec(answer.headers.traceparent ?? '')?.[1]);
  }
  assert.ok(
    ids.every((id) => id !== undefined && !traceparent.includes(id)),
    ids.join(),
  );
  for (const { trace } of await takeAll(broker)) assert.is(trace?.tracestate, undefined);
});

test.run();
