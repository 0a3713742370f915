import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Channel, type ConsumeMessage, connect } from 'amqplib';
import { execa } from 'execa';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { BuildPage } from '#lib/api/build-list.ts';
import { BuildEvent } from '#lib/api/event.ts';
import { exampleRequest } from '#lib/api/examples.ts';
import { Problem } from '#lib/api/problem.ts';
import { parseBuildRequest } from '#lib/api/request.ts';
import { Accepted, BuildStatus, Status } from '#lib/api/status.ts';
import { type Caller, createCallers, digestToken } from '#lib/callers.ts';
import { createLog } from '#lib/log.ts';
import { type Broker, openBroker } from '#lib/queue/broker.ts';
import { encodeRecord } from '#lib/queue/record.ts';
import { queues } from '#lib/queue/topology.ts';
import { createWake } from '#lib/worker/wake.ts';
import { createWorker } from '#lib/worker/worker.ts';
import { buildImage } from '../../functions/build-image/build-image.ts';
import { status } from '../../functions/status/status.ts';
import { type Listening, listen } from '../../lab/servers/listen.ts';
import { type RabbitMq, startRabbitMq } from '../../lab/servers/rabbitmq.ts';
import type { FunctionContext, FunctionEvent, Handler } from '../../template/node24-ts/function.ts';

interface Context {
  rabbitmq: RabbitMq;
  broker: Broker;
  gateway: Listening;
  /** Paths and Authorization headers of the calls that the gateway got. */
  wakes: { path: string | undefined; authorization: string | undefined; prefer: unknown }[];
}

const test = suite<Context>('queue-api');
const log = createLog({ level: 'error', write: () => {} });

const open = (rabbitmq: RabbitMq) =>
  openBroker({
    amqpUrl: rabbitmq.url,
    leaseMs: 90_000,
    eventRetentionSeconds: 3_600,
    eventRetentionBytes: 50_000_000,
    log,
  });

test.before(async (context) => {
  context.rabbitmq = await startRabbitMq();
  context.broker = await open(context.rabbitmq);
  context.wakes = [];
  const gateway = createServer((request, response) => {
    const { authorization, prefer } = request.headers;
    context.wakes.push({ path: request.url, authorization, prefer });
    response.writeHead(202).end();
  });
  context.gateway = await listen(gateway);
});
test.after(async ({ rabbitmq, broker, gateway }) => {
  await broker[Symbol.asyncDispose]();
  await gateway[Symbol.asyncDispose]();
  await rabbitmq[Symbol.asyncDispose]();
});

interface CallOptions {
  readonly method?: string;
  readonly path?: string;
  readonly query?: Record<string, string>;
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
}

/** Calls a handler as the template does. */
async function call(handler: Handler, options: CallOptions) {
  let code: number | undefined;
  const headers: Record<string, string> = {};
  const rawBody = Buffer.from(options.body === undefined ? '' : JSON.stringify(options.body));
  const event: FunctionEvent = {
    ...{ method: 'GET', path: '/', query: {}, body: undefined, rawBody },
    ...options,
    headers: { 'content-type': 'application/json', ...options.headers },
  };
  const context: FunctionContext = {
    status(value) {
      code = value;
      return context;
    },
    headers(values) {
      Object.assign(headers, values);
      return context;
    },
    stopping: new AbortController().signal,
    disconnected: new AbortController().signal,
    answerNow: async () => {},
  };
  const answer = await handler(event, context);
  const body: unknown = Buffer.isBuffer(answer) ? JSON.parse(answer.toString()) : answer;
  return { status: code ?? 200, headers, body };
}

const everybody = createCallers({ token: null, tokenHolders: [] });
const holders = createCallers({ token: 'sesame', tokenHolders: [] });

function build({ broker, gateway }: Context, token: string | null = null): Handler {
  const wake = createWake({ gatewayUrl: gateway.url, wakeSocket: '', wakeAnswer: 'early', log });
  const callers = createCallers({ token, tokenHolders: [] });
  return buildImage({
    ...{
      broker,
      log,
      callers,
      publicUrl: 'http://builder.example.org',
      storeDirectory: '/nonexistent',
      wake: wake.send,
    },
  });
}

/** Both functions for callers of whom each one's token is its name, and their audit lines. */
function service(broker: Broker, holders: readonly (Partial<Caller> & { name: string })[]) {
  const audits: Record<string, unknown>[] = [];
  const write = (line: string) => {
    const { level, time: _time, message: _message, ...audit } = JSON.parse(line);
    if (level === 'audit') audits.push(audit);
  };
  const tokenHolders = holders.map((holder) => ({
    role: 'submit' as const,
    limits: {},
    ...holder,
    tokenDigests: [digestToken(holder.name)],
  }));
  const callers = createCallers({ token: null, tokenHolders });
  const shared = { broker, log: createLog({ level: 'error', write }), callers, publicUrl: '' };
  const builder = buildImage({ ...shared, storeDirectory: '/nonexistent', wake: () => {} });
  const reporter = status(shared);
  const as = (name: string) => ({ headers: { authorization: `Bearer ${name}` } });
  return {
    audits,
    builder,
    submit: (name: string, body: unknown) => call(builder, { method: 'POST', body, ...as(name) }),
    show: (name: string, id: string) => call(builder, { path: `/${id}`, ...as(name) }),
    cancel: (name: string, id: string) => call(builder, { method: 'DELETE', path: `/${id}`, ...as(name) }),
    status: (name: string, query: Record<string, string> = {}) => call(reporter, { query, ...as(name) }),
  };
}

const codeOf = ({ status: answered, body }: { status: number; body: unknown }) => [answered, Problem.parse(body).code];

const request = (values: object = {}) => ({ ...exampleRequest, progress_trigger: `p.${randomUUID()}`, ...values });
const submit = (context: Context, body: unknown, headers: Record<string, string> = {}) =>
  call(build(context), { method: 'POST', body, headers });

function running(accepted: Accepted, trigger: string, values: Partial<BuildEvent>): BuildEvent {
  return {
    build_id: accepted.build_id,
    ticket_id: accepted.ticket_id,
    progress_trigger: trigger,
    sequence: 1,
    attempt: 1,
    time: new Date().toISOString(),
    worker: 'w',
    state: 'running',
    step: 'fetch',
    message: 'Fetching',
    current: 1,
    total: 2,
    progress: 0.1,
    ...values,
  };
}

async function until<Value>(
  what: string,
  look: () => Promise<Value | undefined | false> | Value | undefined | false,
): Promise<Value> {
  for (const end = Date.now() + 30_000; Date.now() < end; ) {
    const value = await look();
    if (value !== undefined && value !== false) return value;
    await delay(50);
  }
  throw new Error(`waited 30 seconds in vain: ${what}`);
}

async function drain(broker: Broker): Promise<string[]> {
  const ids: string[] = [];
  for (;;) {
    const taken = await broker.jobs.take();
    if (taken === null) return ids;
    ids.push(taken.job.build_id);
    await taken.drop();
  }
}

/** A client of the test's own on the same broker. */
async function client(rabbitmq: RabbitMq): Promise<{ channel: Channel } & AsyncDisposable> {
  const connection = await connect(rabbitmq.url);
  connection.on('error', () => {});
  const channel = await connection.createChannel();
  return { channel, [Symbol.asyncDispose]: () => connection.close() };
}

async function collect(channel: Channel, queue: string): Promise<ConsumeMessage[]> {
  const messages: ConsumeMessage[] = [];
  await channel.consume(queue, (message) => message !== null && messages.push(message), { noAck: true });
  return messages;
}

test('a valid request is answered 202, its job is in the queue, its event is sent, and a worker is woken', async (context) => {
  const body = request();
  context.wakes.length = 0;
  const answer = await submit(context, body, {
    'x-callback-url': 'http://caller.example.org/done',
    'x-call-id': 'c-1',
  });
  assert.is(answer.status, 202);
  const accepted = Accepted.parse(answer.body);
  assert.is(accepted.status_url, `http://builder.example.org/api/v1/imagebuilder/status?build_id=${accepted.build_id}`);
  const taken = await context.broker.jobs.take();
  assert.is(taken?.job.build_id, accepted.build_id);
  assert.equal(taken?.job.callback, { url: 'http://caller.example.org/done', call_id: 'c-1' });
  assert.equal(parseBuildRequest(taken?.job.request), parseBuildRequest(body));
  await taken?.drop();
  assert.is(context.broker.ledger.get(accepted.build_id)?.state, 'queued');
  await until('the wake', () => context.wakes.length > 0);
  assert.equal(context.wakes[0], {
    path: '/async-function/build-worker',
    authorization: undefined,
    prefer: 'respond-async',
  });
});

test('50 submissions of the same request at once make one build', async (context) => {
  const body = request({ ticket_id: 77 });
  const answers = await Promise.all(Array.from({ length: 50 }, () => submit(context, body)));
  const ids = new Set(answers.map((answer) => Accepted.parse(answer.body).build_id));
  assert.is(ids.size, 1);
  assert.is(answers.filter((answer) => answer.status === 202).length, 1);
  assert.is(answers.filter((answer) => answer.status === 200).length, 49);
  // Also as seen by a replica that was not there, and with the ticket as text.
  await using fresh = await open(context.rabbitmq);
  await fresh.ledger.ready();
  assert.is(
    fresh.ledger.unfinished({ caller: 'anonymous', ticketId: '77', progressTrigger: body.progress_trigger }, new Date())
      ?.buildId,
    [...ids][0],
  );
  const again = await submit(context, { ...body, ticket_id: '77' });
  assert.is(again.status, 200);
  // Jobs of the others are in the queue, and a worker that takes them sees that they are not to be built.
  const jobs = await drain(context.broker);
  assert.is(jobs.filter((id) => fresh.ledger.get(id)?.supersededBy === null).length, 1);
});

test('another request with the ticket and progress trigger of an unfinished build is answered 409, whichever replica gets it', async (context) => {
  const body = request();
  const accepted = Accepted.parse((await submit(context, body)).body);
  await using replica = await open(context.rabbitmq);
  await replica.ledger.ready();
  for (const broker of [context.broker, replica]) {
    const elsewhere = { ...context, broker };
    for (const [other, headers] of [
      [{ ...body, package_list: ['other-package'] }, {}],
      [{ ...body, cancel_url: null }, {}],
      [body, { 'x-callback-url': 'http://caller.example.org/done' }],
    ] as const) {
      const answer = await submit(elsewhere, other, headers);
      assert.is(answer.status, 409);
      assert.is(Problem.parse(answer.body).code, 'request.conflict');
    }
    // A gateway gives every call an id of its own.
    const again = await submit(elsewhere, body, { 'x-call-id': randomUUID() });
    assert.equal([again.status, Accepted.parse(again.body).build_id], [200, accepted.build_id]);
  }
  assert.equal(await drain(context.broker), [accepted.build_id]);
});

test('of two requests with one key that are submitted at once, one is built and everybody else hears of the conflict', async (context) => {
  await using replica = await open(context.rabbitmq);
  await replica.ledger.ready();
  const body = request();
  const other = { ...body, package_list: ['other-package'] };
  const answers = await Promise.all(
    Array.from({ length: 40 }, async (_, index) => {
      const elsewhere = { ...context, broker: index % 4 < 2 ? context.broker : replica };
      return { sent: index % 2, answer: await submit(elsewhere, index % 2 === 0 ? body : other) };
    }),
  );
  const winner = answers.find(({ answer }) => answer.status === 202);
  const buildId = Accepted.parse(winner?.answer.body).build_id;
  for (const { sent, answer } of answers) {
    if (sent !== winner?.sent) assert.is(answer.status, 409);
    else assert.is(Accepted.parse(answer.body).build_id, buildId);
  }
  assert.is(answers.filter(({ answer }) => answer.status === 202).length, 1);
  const jobs = await drain(context.broker);
  assert.ok(jobs.length > 1, 'some were submitted before the winner was known');
  assert.equal(
    jobs.filter((id) => !context.broker.ledger.isOver(id)),
    [buildId],
  );
});

test('the same request again after the end of its build is a new build', async (context) => {
  const body = request();
  const first = Accepted.parse((await submit(context, body)).body);
  await context.broker.publishEvent(running(first, body.progress_trigger, { state: 'failed' }));
  const second = await submit(context, body);
  assert.is(second.status, 202);
  assert.is.not(Accepted.parse(second.body).build_id, first.build_id);
  await drain(context.broker);
});

test('every fault of a request and of its headers is answered 400 with its place', async (context) => {
  const { progress_trigger: _left_out, ...body } = request({ ppa_list: ['ppa:x/y', 'nonsense'], odd: 1 });
  const answer = await submit(context, body);
  assert.is(answer.status, 400);
  assert.is(answer.headers['content-type'], 'application/problem+json');
  const paths = Problem.parse(answer.body).faults?.map((fault) => fault.path);
  assert.equal(new Set(paths), new Set(['$.progress_trigger', '$.ppa_list[1]', '$.odd']));
  const badHeader = await submit(context, request(), { 'x-callback-url': 'ftp://x' });
  assert.is(badHeader.status, 400);
  assert.is(Problem.parse(badHeader.body).faults?.[0]?.path, 'X-Callback-Url');
  const badEverywhere = await submit(context, body, { 'x-callback-url': 'ftp://x', 'x-call-id': 'c'.repeat(257) });
  assert.equal(
    new Set(Problem.parse(badEverywhere.body).faults?.map((fault) => fault.path)),
    new Set(['X-Callback-Url', 'X-Call-Id', ...new Set(paths)]),
  );
});

test('headers without a value are as if they were not there', async (context) => {
  const headers = { 'x-callback-url': '', 'x-call-id': '' };
  const { status: code } = await submit(context, request({ callback_url: 'http://caller.example.org/done' }), headers);
  assert.is(code, 202);
  const taken = await context.broker.jobs.take();
  assert.is(taken?.job.callback?.url, 'http://caller.example.org/done');
  assert.match(taken?.job.callback?.call_id ?? '', /^[0-9a-f-]{36}$/);
  await taken?.drop();
});

test('with a token every call needs it, and the wake carries none', async (context) => {
  const handler = build(context, 'open-sesame');
  for (const authorization of [undefined, 'Bearer wrong', 'Basic open-sesame']) {
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
    const answer = await call(handler, { method: 'POST', body: request(), headers });
    assert.is(answer.status, 401);
    assert.match(answer.headers['www-authenticate'] ?? '', /Bearer/);
  }
  context.wakes.length = 0;
  const headers = { authorization: 'Bearer open-sesame' };
  assert.is((await call(handler, { method: 'POST', body: request(), headers })).status, 202);
  await until('the wake', () => context.wakes.length > 0);
  assert.is(context.wakes[0]?.authorization, undefined);
  const statusHandler = status({
    broker: context.broker,
    log,
    callers: createCallers({ token: 'open-sesame', tokenHolders: [] }),
    publicUrl: '',
  });
  assert.is((await call(statusHandler, {})).status, 401);
  assert.is((await call(statusHandler, { headers })).status, 200);
  await drain(context.broker);
});

const trio = [{ name: 'lander' }, { name: 'monitor', role: 'read' }, { name: 'boss', role: 'operate' }] as const;

test('a caller sees and cancels its own builds, read sees all, and operate may do everything, at every replica', async (context) => {
  const near = service(context.broker, [...trio, { name: 'stranger' }]);
  const body = request();
  const accepted = Accepted.parse((await near.submit('lander', body)).body);
  const taken = await context.broker.jobs.take();
  assert.is(taken?.job.submission?.caller, 'lander');
  await taken?.drop();
  const { submission } = taken?.job ?? {};
  const { build_id } = accepted;
  await context.broker.publishEvent(running(accepted, body.progress_trigger, { worker: 'w-roles' }), { submission });
  await using replica = await open(context.rabbitmq);
  await replica.ledger.ready();
  for (const at of [near, service(replica, [...trio, { name: 'stranger' }])]) {
    const unknown = [
      at.show('stranger', build_id),
      at.cancel('stranger', build_id),
      at.status('stranger', { build_id }),
      at.show('lander', randomUUID()),
    ];
    for (const answer of await Promise.all(unknown)) assert.equal(codeOf(answer), [404, 'build.not_found']);
    const strange = Status.parse((await at.status('stranger')).body);
    assert.equal([strange.running, strange.queued, strange.finished], [[], [], []]);
    assert.equal(strange.workers.find(({ name }) => name === 'w-roles')?.builds, []);
    for (const name of ['lander', 'monitor', 'boss']) {
      assert.is(BuildStatus.parse((await at.show(name, build_id)).body).caller, 'lander');
      const seen = Status.parse((await at.status(name, { build_id })).body);
      assert.is(seen.running[0]?.build_id, build_id);
      assert.equal(seen.workers.find((worker) => worker.name === 'w-roles')?.builds, [build_id]);
    }
    assert.equal(codeOf(await at.submit('monitor', request())), [403, 'request.forbidden']);
    assert.equal(codeOf(await at.cancel('monitor', build_id)), [403, 'request.forbidden']);
    assert.is(context.broker.ledger.get(build_id)?.cancelling, at !== near);
    for (const name of ['lander', 'boss']) assert.is((await at.cancel(name, build_id)).status, 202);
  }
  assert.equal(await drain(context.broker), []);
});

test('the ticket of one caller’s unfinished build neither blocks another caller’s nor is revealed', async (context) => {
  const { submit: submitAs } = service(context.broker, [{ name: 'lander' }, { name: 'stranger' }]);
  const body = request();
  const answers = await Promise.all(
    ['lander', 'stranger', 'lander', 'stranger'].map(async (name) => ({ name, answer: await submitAs(name, body) })),
  );
  answers.push({ name: 'stranger', answer: await submitAs('stranger', body) });
  const idsOf = (of: string) =>
    new Set(answers.filter(({ name }) => name === of).map(({ answer }) => Accepted.parse(answer.body).build_id));
  assert.equal([idsOf('lander').size, idsOf('stranger').size], [1, 1]);
  assert.is.not([...idsOf('lander')][0], [...idsOf('stranger')][0]);
  assert.equal(codeOf(await submitAs('stranger', { ...body, ppa_list: [] })), [409, 'request.conflict']);
  await drain(context.broker);
});

test('a caller at its limits is answered 429 with Retry-After, exactly at one replica and within bounds at two', async (context) => {
  await using replica = await open(context.rabbitmq);
  await replica.ledger.ready();
  const name = `limited-${randomUUID()}`;
  const holders = [{ name, limits: { unfinished_builds: 2, builds_an_hour: 5, packages: 2 } }, { name: 'other' }];
  const services = [service(context.broker, holders), service(replica, holders)];
  const [near, far] = services;
  assert.ok(near && far);
  const trigger = `p.${randomUUID()}`;
  const at = (ticket_id: number) => request({ ticket_id, progress_trigger: trigger });
  const accepted: Accepted[] = [];
  const submitMany = async (count: number, where: typeof services) => {
    const before = accepted.length;
    const tickets = Array.from({ length: count }, (_, index) => before * 100 + index);
    const answers = await Promise.all(
      tickets.map((ticket, index) => where[index % where.length]?.submit(name, at(ticket))),
    );
    for (const answer of answers) {
      assert.ok(answer);
      if (answer.status === 202) accepted.push(Accepted.parse(answer.body));
      else {
        assert.equal(codeOf(answer), [429, 'caller.limit']);
        assert.ok(Number(answer.headers['retry-after']) > 0);
      }
    }
    return accepted.length - before;
  };
  assert.is(await submitMany(10, [near]), 2);
  await replica.ledger.sync();
  assert.is(await submitMany(4, services), 0);
  assert.is((await near.submit('other', at(1))).status, 202, 'others are not held back');
  const again = await far.submit(name, at(Number(accepted[0]?.ticket_id)));
  assert.is(again.status, 200, 'the same request again takes no place');
  const endAll = async () => {
    const submission = { caller: name, request_sha256: '0'.repeat(64) };
    for (const build of accepted) {
      await context.broker.publishEvent(running(build, trigger, { state: 'completed' }), { submission });
    }
    await replica.ledger.sync();
  };
  await endAll();
  const more = await submitMany(20, services);
  assert.ok(more >= 2 && more <= 3 * services.length, `${more} more were accepted`);
  await endAll();
  if (accepted.length < 5) await submitMany(5 - accepted.length, [near]);
  await endAll();
  const late = await near.submit(name, at(9_999));
  assert.equal(codeOf(late), [429, 'caller.limit']);
  assert.ok(Number(late.headers['retry-after']) > 3_000);
  const large = await near.submit(name, { ...at(1), package_list: ['aa', 'bb', 'cc'], odd: 1 });
  assert.is(large.status, 400);
  const places = Problem.parse(large.body).faults?.map(({ path }) => path);
  assert.equal(new Set(places), new Set(['$.package_list', '$.odd']));
  await drain(context.broker);
});

test('every call leaves one audit line: who did what to which build, and how it was answered', async (context) => {
  const { audits, builder, ...at } = service(context.broker, [...trio]);
  const body = request({ ticket_id: 'T-audit' });
  const { build_id } = Accepted.parse((await at.submit('lander', body)).body);
  await at.submit('lander', { ...body, ppa_list: [] });
  await at.submit('monitor', body);
  await at.submit('nobody', body);
  await at.submit('lander', {});
  await at.show('lander', build_id);
  await at.show('lander', '../../etc/passwd');
  await at.status('monitor', { ticket_id: 'T-audit' });
  await at.status('lander', { build_id: 'nonsense' });
  await at.cancel('boss', build_id);
  await call(builder, { method: 'PUT' });
  const ticket_id = 'T-audit';
  const one = { path: '/{build_id}', build_id, ticket_id };
  const [first, second] = audits.map(({ trace_id, span_id }) => ({ trace_id, span_id }));
  assert.match(`${first?.trace_id} ${second?.span_id}`, /^[0-9a-f]{32} [0-9a-f]{16}$/);
  assert.equal(audits, [
    { caller: 'lander', method: 'POST', path: '/', ticket_id, ...first, build_id, status: 202 },
    { caller: 'lander', method: 'POST', path: '/', ticket_id, ...second, status: 409, code: 'request.conflict' },
    { caller: 'monitor', method: 'POST', path: '/', status: 403, code: 'request.forbidden' },
    { caller: 'anonymous', method: 'POST', path: '/', status: 401, code: 'request.unauthorized' },
    { caller: 'lander', method: 'POST', path: '/', status: 400, code: 'request.invalid' },
    { caller: 'lander', method: 'GET', ...one, status: 200 },
    { caller: 'lander', method: 'GET', path: 'other', status: 404, code: 'request.not_found' },
    { caller: 'monitor', method: 'GET', path: '/', ticket_id, status: 200 },
    { caller: 'lander', method: 'GET', path: '/', status: 400, code: 'request.invalid' },
    { caller: 'boss', method: 'DELETE', ...one, status: 202 },
    { caller: 'anonymous', method: 'PUT', path: '/', status: 401, code: 'request.unauthorized' },
  ]);
  await drain(context.broker);
});

test('wrong methods and paths are refused with their reasons', async (context) => {
  const patch = await call(build(context), { method: 'PATCH' });
  assert.is(patch.status, 405);
  assert.is(patch.headers.allow, 'GET, POST');
  const put = await call(build(context), { method: 'PUT', path: `/${randomUUID()}` });
  assert.is(put.status, 405);
  assert.is(put.headers.allow, 'GET, DELETE');
  assert.is((await call(build(context), { path: '/a/b' })).status, 404);
  assert.is((await call(build(context), { path: '/nonsense' })).status, 404);
});

test('DELETE asks for the end of a build, once it is known and not ended', async (context) => {
  const body = request();
  const accepted = Accepted.parse((await submit(context, body)).body);
  const path = `/${accepted.build_id}`;
  await using other = await open(context.rabbitmq);
  await other.ledger.ready();
  let told = false;
  other.ledger.onChange(accepted.build_id, (view) => {
    told ||= view.cancelling;
  });
  const answer = await call(build(context), { method: 'DELETE', path });
  assert.is(answer.status, 202);
  assert.equal(answer.body, { cancelling: true, build_id: accepted.build_id, ticket_id: 'T-77' });
  await until('the worker is told', () => told);
  const shown = BuildStatus.parse((await call(build(context), { path })).body);
  assert.is(shown.cancelling, true);
  assert.is((await call(build(context), { method: 'DELETE', path })).status, 202);
  await context.broker.publishEvent(running(accepted, body.progress_trigger, { state: 'cancelled' }));
  assert.is((await call(build(context), { method: 'DELETE', path })).status, 409);
  assert.is((await call(build(context), { method: 'DELETE', path: `/${randomUUID()}` })).status, 404);
  await drain(context.broker);
});

test('calls that change nothing append nothing to the stream, however many come', async (context) => {
  const { broker, rabbitmq } = context;
  const [cancelling, ended] = [request(), request()];
  const ids: string[] = [];
  for (const body of [cancelling, ended]) {
    const accepted = Accepted.parse((await submit(context, body)).body);
    ids.push(accepted.build_id);
    await broker.publishEvent(running(accepted, body.progress_trigger, { attempt: 1, sequence: 1 }));
    await broker.ledger.when(accepted.build_id, ({ notified }) => notified.includes('queued'), 30_000);
    const end = { attempt: 1, sequence: 2, state: 'failed' } as const;
    if (body === ended) await broker.publishEvent(running(accepted, body.progress_trigger, end));
  }
  assert.is((await call(build(context), { method: 'DELETE', path: `/${ids[0]}` })).status, 202);
  await drain(broker);

  const client = await connect(rabbitmq.url);
  const channel = await client.createChannel();
  const kinds: string[] = [];
  await channel.prefetch(100);
  const take = (message: ConsumeMessage | null) => {
    if (message === null) return;
    kinds.push(message.properties.type);
    channel.ack(message);
  };
  await channel.consume(queues.events, take, { arguments: { 'x-stream-offset': 'next' } });
  const show = status({ broker, log, callers: everybody, publicUrl: '' });
  const worker = createWorker({
    name: 'w',
    broker,
    runBuild: () => Promise.reject(new Error('there is nothing to build')),
    getJson: async () => ({}),
    deliveries: { add() {} },
    discard: async () => {},
    openLog: () => Promise.reject(new Error('the log is not of this test')),
    wake() {},
    settings: {
      heartbeatMs: 1_000,
      leaseMs: 90_000,
      maximumAttempts: 3,
      buildTimeoutMs: 1_000,
      cancelPollMs: 1_000,
      callbackTimeoutMs: 1_000,
    },
    log,
  });
  const take30 = (one: () => Promise<unknown>) => Array.from({ length: 30 }, one);
  await Promise.all([
    ...take30(() => call(build(context), { path: `/${randomUUID()}` })),
    ...take30(() => call(build(context), { method: 'DELETE', path: `/${randomUUID()}` })),
    ...take30(() => call(show, { query: { build_id: randomUUID() } })),
    ...ids.flatMap((id) => take30(() => call(build(context), { method: 'DELETE', path: `/${id}` }))),
    ...take30(() => worker.takeBuilds({ stopping: new AbortController().signal, deadline: Infinity })),
  ]);
  await broker.ledger.sync();
  await until('the end of the stream', () => kinds.includes('imagebuilder.marker'));
  assert.equal(kinds, ['imagebuilder.marker']);
  await client.close();
});

test('status shows running, queued and finished builds and workers, also after a cold start', async (context) => {
  const triggers = ['a', 'b', 'c'].map((name) => `p.${name}.${randomUUID()}`);
  const builds: Accepted[] = [];
  for (const [index, progress_trigger] of triggers.entries()) {
    builds.push(Accepted.parse((await submit(context, request({ ticket_id: 1000 + index, progress_trigger }))).body));
  }
  const [first, second, third] = builds;
  assert.ok(first && second && third);
  const guest = { kind: 'vm', accelerator: 'tcg', reason: '/dev/kvm cannot be opened' } as const;
  const said = { log: ['one', 'two'], worker: 'w-status', guest };
  await context.broker.publishEvent(running(first, triggers[0] ?? '', said));
  await context.broker.publishEvent(running(second, triggers[1] ?? '', { state: 'failed' }));
  await using fresh = await open(context.rabbitmq);
  const handler = status({ broker: fresh, log, callers: everybody, publicUrl: '' });
  const all = Status.parse((await call(handler, {})).body);
  assert.is(all.status, 'ok');
  assert.is(all.broker.queue_depth, all.counts.queued, 'jobs of builds that are over do not count');
  assert.ok(all.running.some((shown) => shown.build_id === first.build_id && shown.step === 'fetch'));
  assert.is(all.finished[0]?.build_id, second.build_id);
  const waits = all.queued.find((shown) => shown.build_id === third.build_id);
  assert.is(waits?.place_in_queue, all.counts.queued, 'the last one');
  const worker = all.workers.find(({ name }) => name === 'w-status');
  assert.equal([worker?.builds, worker?.guest], [[first.build_id], guest]);

  const byTicket = Status.parse((await call(handler, { query: { ticket_id: '1002' } })).body);
  assert.equal([byTicket.running.length, byTicket.queued.length, byTicket.finished.length], [0, 1, 0]);
  const byId = Status.parse((await call(handler, { query: { build_id: first.build_id } })).body);
  assert.equal(byId.running[0]?.log_tail, ['one', 'two']);
  assert.is((await call(handler, { query: { build_id: randomUUID() } })).status, 404);
  const bad = await call(handler, { query: { build_id: 'x', colour: 'red' } });
  assert.is(bad.status, 400);
  assert.is(Problem.parse(bad.body).faults?.length, 2);
  const guarded = status({ broker: fresh, log, callers: holders, publicUrl: '' });
  assert.is((await call(guarded, {})).status, 401);
  assert.is(((await call(guarded, { path: '/openapi.json' })).body as { openapi: string }).openapi, '3.1.0');
  assert.is(((await call(guarded, { path: '/asyncapi.json' })).body as { asyncapi: string }).asyncapi, '3.0.0');
  assert.is((await call(guarded, { path: '/asyncapi.json', method: 'POST' })).status, 405);
  await drain(context.broker);
});

test('a finished build is found and listed after 300 later ones, by a replica that starts then, too', async (context) => {
  await using own = await client(context.rabbitmq);
  const mark = `T-${randomUUID()}`;
  const append = (build_id: string, ticket_id: string, values: Partial<BuildEvent>) => {
    const event = running({ build_id, ticket_id } as Accepted, 'p.known', { ticket_id, ...values });
    const submission = { caller: 'anonymous', series: 'noble', request_sha256: '0'.repeat(64) };
    own.channel.sendToQueue(queues.events, encodeRecord({ kind: 'event', id: randomUUID(), event, submission }));
  };
  const first = randomUUID();
  append(first, mark, { state: 'failed', message: 'the first', log: ['its log'] });
  const later = Array.from({ length: 300 }, () => randomUUID());
  for (const [index, id] of later.entries()) append(id, `${mark}-${index}`, { state: 'failed' });
  await context.broker.ledger.when(later.at(-1) ?? first, () => true, 5_000);
  await using fresh = await open(context.rabbitmq);
  for (const broker of [context.broker, fresh]) {
    const function_ = build({ ...context, broker });
    const one = BuildStatus.parse((await call(function_, { path: `/${first}` })).body);
    assert.equal([one.message, one.log_tail, one.series], ['the first', ['its log'], 'noble']);
    const show = status({ broker, log, callers: everybody, publicUrl: '' });
    const byId = Status.parse((await call(show, { query: { build_id: first } })).body);
    assert.equal([byId.finished[0]?.build_id, byId.counts.failed], [first, 1]);
    const all = Status.parse((await call(show, {})).body);
    assert.ok(all.counts.failed >= 301 && all.finished.length === 20);
    const listed: string[] = [];
    let query: Record<string, string> = { state: 'failed', series: 'noble', limit: '120' };
    for (;;) {
      const page = BuildPage.parse((await call(function_, { query })).body);
      listed.push(...page.builds.map(({ build_id }) => build_id));
      if (page.next_cursor === null) break;
      query = { ...query, cursor: page.next_cursor };
    }
    assert.equal([listed.length, new Set(listed).size, listed.includes(first)], [301, 301, true]);
    const byTicket = BuildPage.parse((await call(function_, { query: { ticket_id: mark } })).body);
    assert.equal(
      byTicket.builds.map(({ build_id }) => build_id),
      [first],
    );
  }
  const bad = await call(build(context), { query: { state: 'done', cursor: 'x', colour: 'red' } });
  assert.equal([bad.status, Problem.parse(bad.body).faults?.length], [400, 3]);
});

test('events go to the caller’s topic and fanout exchanges, in order and with their properties', async (context) => {
  await using own = await client(context.rabbitmq);
  for (const type of ['topic', 'fanout', 'headers', 'direct']) {
    const trigger = `p.${type}.${randomUUID()}`;
    await own.channel.assertExchange(trigger, type, { autoDelete: true });
    const { queue } = await own.channel.assertQueue('', { exclusive: true });
    for (const key of type === 'topic' ? ['imagebuilder.#'] : ['imagebuilder.queued', 'imagebuilder.running']) {
      await own.channel.bindQueue(queue, trigger, key);
    }
    const messages = await collect(own.channel, queue);
    const accepted = Accepted.parse((await submit(context, request({ progress_trigger: trigger }))).body);
    for (let sequence = 1; sequence <= 10; sequence += 1) {
      await context.broker.publishEvent(running(accepted, trigger, { sequence }));
    }
    await until(`all events through a ${type} exchange`, () => messages.length >= 11);
    const events = messages.map((message) => BuildEvent.parse(JSON.parse(message.content.toString())));
    const order = events.map((event) => event.sequence);
    assert.equal(
      type === 'fanout' || type === 'headers' ? [...new Set(order)] : order,
      Array.from({ length: 11 }, (_, index) => index),
    );
    const [queued, started] = messages;
    assert.is(queued?.fields.routingKey, 'imagebuilder.queued');
    assert.is(started?.fields.routingKey, 'imagebuilder.running');
    assert.is(started?.properties.correlationId, 'T-77');
    assert.is(started?.properties.type, 'imagebuilder.event');
    assert.is(started?.properties.appId, 'imagebuilder');
    assert.is(started?.properties.contentType, 'application/json');
    assert.is(started?.properties.deliveryMode, 2);
    assert.type(started?.properties.timestamp, 'number');
    assert.type(started?.properties.messageId, 'string');
    for (const { content } of messages) assert.not.match(content.toString(), /anonymous|submission|sha256/);
  }
  await drain(context.broker);
});

test('a caller gets the events of one ticket, one build or one state by one binding, and each of them once', async (context) => {
  await using own = await client(context.rabbitmq);
  const { channel } = own;
  for (const type of ['topic', 'direct', 'headers']) {
    const trigger = `p.${type}.${randomUUID()}`;
    await channel.assertExchange(trigger, type, { autoDelete: true });
    const bound = async (...keys: readonly (string | Record<string, string | number>)[]) => {
      const { queue } = await channel.assertQueue('', { exclusive: true });
      for (const key of keys) {
        if (typeof key === 'string') await channel.bindQueue(queue, trigger, key);
        else await channel.bindQueue(queue, trigger, '', { 'x-match': 'all', ...key });
      }
      return await collect(channel, queue);
    };
    const isHeaders = type === 'headers';
    const byTicket = await bound(isHeaders ? { ticket_id: 'T.1 *' } : 'imagebuilder.ticket.T.1 *');
    const byState = await bound(isHeaders ? { state: 'running', attempt: 1, step: 'fetch' } : 'imagebuilder.running');
    const twice = await bound(
      ...(isHeaders ? [{ state: 'queued' }] : ['imagebuilder.queued', 'imagebuilder.ticket.T.1 *']),
    );
    const one = Accepted.parse(
      (await submit(context, request({ progress_trigger: trigger, ticket_id: 'T.1 *' }))).body,
    );
    // A submission is answered while its event is still on the way.
    await until('the event of the submission', () => byTicket.length === 1);
    const byBuild = await bound(isHeaders ? { build_id: one.build_id } : `imagebuilder.build.${one.build_id}`);
    const two = Accepted.parse((await submit(context, request({ progress_trigger: trigger, ticket_id: 2 }))).body);
    for (const accepted of [one, two]) await context.broker.publishEvent(running(accepted, trigger, {}));
    await until('the last event', () => byState.length === 2 && byBuild.length === 1);
    const seen = [byTicket, byState, twice].map((messages) =>
      messages
        .map(({ content }) => BuildEvent.parse(JSON.parse(content.toString())))
        .map((e) => `${e.ticket_id} ${e.state}`),
    );
    const [first, second] = ['T.1 * queued', 'T.1 * running'];
    assert.equal(seen, [
      [first, second],
      [second, '2 running'],
      isHeaders ? [first, '2 queued'] : [first, '2 queued', second],
    ]);
    assert.is(byBuild[0]?.properties.headers?.ticket_id, 'T.1 *');
  }
  await drain(context.broker);
});

test('a submission is answered while its caller’s queue is full, and its event arrives there as soon as it has room', async (context) => {
  await using own = await client(context.rabbitmq);
  const trigger = `p.${randomUUID()}`;
  await own.channel.assertExchange(trigger, 'fanout', { autoDelete: true });
  const full = { 'x-max-length': 1, 'x-overflow': 'reject-publish' };
  const { queue } = await own.channel.assertQueue('', { exclusive: true, arguments: full });
  await own.channel.bindQueue(queue, trigger, '');
  own.channel.publish(trigger, '', Buffer.from('full'));
  await until('the full queue', async () => (await own.channel.checkQueue(queue)).messageCount === 1);
  const accepted = Accepted.parse((await submit(context, request({ progress_trigger: trigger }))).body);
  await own.channel.purgeQueue(queue);
  const messages = await collect(own.channel, queue);
  await until('the event of the submission', () => messages.length === 1);
  assert.is(JSON.parse(messages[0]?.content.toString() ?? '').build_id, accepted.build_id);
  await drain(context.broker);
});

test('where only a queue has the name of the progress trigger, events go there', async (context) => {
  await using own = await client(context.rabbitmq);
  const trigger = `p.${randomUUID()}`;
  await own.channel.assertQueue(trigger, { autoDelete: true });
  const messages = await collect(own.channel, trigger);
  await submit(context, request({ progress_trigger: trigger }));
  await until('the event in the queue', () => messages.length === 1);
  await drain(context.broker);
});

test('a build goes on without exchange or queue, and sends its events once one appears, goes, and comes back', async (context) => {
  await using own = await client(context.rabbitmq);
  const trigger = `p.${randomUUID()}`;
  const accepted = Accepted.parse((await submit(context, request({ progress_trigger: trigger }))).body);
  let sequence = 0;
  const tell = () => {
    sequence += 1;
    return context.broker.publishEvent(running(accepted, trigger, { sequence }));
  };
  assert.is(await tell(), 'applied');
  const { queue } = await own.channel.assertQueue('', { exclusive: true });
  const messages = await collect(own.channel, queue);
  const appear = async () => {
    await own.channel.assertExchange(trigger, 'fanout', { durable: false });
    await own.channel.bindQueue(queue, trigger, '');
    const before = messages.length;
    await until('an event arrives', async () => {
      assert.is(await tell(), 'applied');
      return messages.length > before;
    });
  };
  await appear();
  await own.channel.deleteExchange(trigger);
  assert.is(await tell(), 'applied');
  assert.is(await tell(), 'applied');
  await appear();
  await own.channel.deleteExchange(trigger);
  await drain(context.broker);
});

test('both functions work behind the template, configured by their environment, and end in order', async (context) => {
  const env = {
    PATH: process.env.PATH ?? '',
    PORT: '0',
    IMAGEBUILDER_AMQP_URL: context.rabbitmq.url,
    IMAGEBUILDER_GATEWAY_URL: context.gateway.url,
  };
  const start = async (name: string) => {
    const child = execa(process.execPath, ['template/node24-ts/index.ts', `functions/${name}/handler.ts`], {
      cwd: join(import.meta.dirname, '../..'),
      env,
      extendEnv: false,
      all: true,
      reject: false,
    });
    let output = '';
    child.all.on('data', (text: Buffer) => {
      output += text.toString();
    });
    const listening = await until(`${name} listens`, () => /"port":(\d+)/.exec(output)?.[1]);
    return { child, url: `http://127.0.0.1:${listening}` };
  };
  const [builder, reporter] = await Promise.all([start('build-image'), start('status')]);
  try {
    const body = JSON.stringify(request());
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(builder.url, { method: 'POST', headers, body });
    assert.is(answer.status, 202);
    const accepted = Accepted.parse(await answer.json());
    const shown = await fetch(`${reporter.url}/?build_id=${accepted.build_id}`);
    assert.is(Status.parse(await shown.json()).queued[0]?.build_id, accepted.build_id);
    const cancelled = await fetch(`${builder.url}/${accepted.build_id}`, { method: 'DELETE' });
    assert.is(cancelled.status, 202);
    const refused = await fetch(builder.url, { method: 'POST', headers, body: '{}' });
    assert.is(refused.status, 400);
    assert.is(refused.headers.get('content-type'), 'application/problem+json');
  } finally {
    for (const { child } of [builder, reporter]) child.kill('SIGTERM');
  }
  const ends = await Promise.all([builder.child, reporter.child]);
  assert.equal(
    ends.map((end) => end.exitCode),
    [0, 0],
  );
  await drain(context.broker);
});

test('without RabbitMQ a submission is answered 503 with Retry-After, and status is degraded but shows the last known builds', async (context) => {
  const body = request();
  const accepted = Accepted.parse((await submit(context, body)).body);
  await context.rabbitmq.stop();
  const statusHandler = status({ broker: context.broker, log, callers: everybody, publicUrl: '' });
  try {
    const answer = await submit(context, request());
    assert.is(answer.status, 503);
    assert.is(Problem.parse(answer.body).code, 'broker.unreachable');
    assert.ok(Number(answer.headers['retry-after']) > 0);
    const degraded = Status.parse((await call(statusHandler, {})).body);
    assert.is(degraded.status, 'degraded');
    assert.is(degraded.broker.reachable, false);
    assert.ok(degraded.queued.some((shown) => shown.build_id === accepted.build_id));
  } finally {
    await context.rabbitmq.start();
  }
  const after = await until('the broker is used again', async () => {
    const report = Status.parse((await call(statusHandler, {})).body);
    return report.status === 'ok' && report;
  });
  assert.ok(after.queued.some((shown) => shown.build_id === accepted.build_id));
  assert.is((await submit(context, body)).status, 200);
  await drain(context.broker);
});

test.run();
