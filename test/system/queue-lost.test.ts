import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from 'amqplib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { parseBuildRequest } from '#lib/api/request.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { createLog } from '#lib/log.ts';
import { type Broker, openBroker } from '#lib/queue/broker.ts';
import { submit } from '#lib/queue/submit.ts';
import { queues } from '#lib/queue/topology.ts';
import { startOperation } from '#lib/trace-context.ts';
import { createWorker } from '#lib/worker/worker.ts';
import { startCaller } from '../../lab/servers/caller.ts';
import { type RabbitMq, startRabbitMq } from '../../lab/servers/rabbitmq.ts';

/** Jobs that RabbitMQ drops, by the will of its operator or by an accident: no build waits for ever. */

interface Context {
  rabbitmq: RabbitMq;
}

const test = suite<Context>('queue-lost');
const leaseMs = 1_000;

/** Virtual hosts, and the policies in them: a name, a pattern for queues, a definition. */
const houses = {
  aged: ['^imagebuilder\\.builds$', { 'message-ttl': 300 }],
  'aged everywhere': ['.*', { 'message-ttl': 2_000 }],
  'delivered once': ['^imagebuilder\\.builds$', { 'delivery-limit': 1 }],
  full: ['.*', { 'max-length': 1 }],
  purged: null,
  leased: null,
  cancelled: null,
  deleted: null,
  'another stream': null,
} as const satisfies Record<string, readonly [pattern: string, definition: object] | null>;

test.before(async (context) => {
  context.rabbitmq = await startRabbitMq();
  const erlang = (text: string) => `<<${JSON.stringify(text)}>>`;
  const steps = Object.entries(houses).flatMap(([name, policy]) => [
    `rabbit_vhost:add(${erlang(name)}, <<"t">>)`,
    `rabbit_auth_backend_internal:set_permissions(<<"guest">>, ${erlang(name)}, <<".*">>, <<".*">>, <<".*">>, <<"t">>)`,
    ...(policy === null
      ? []
      : [
          `rabbit_policy:parse_set(${erlang(name)}, <<"p">>, ${erlang(policy[0])}, ${erlang(JSON.stringify(policy[1]))}, 1, <<"queues">>, <<"t">>)`,
        ]),
  ]);
  // One call: each start of rabbitmqctl takes a second.
  await context.rabbitmq.control(['eval', `${steps.join(', ')}.`]);
});
test.after(async ({ rabbitmq }) => {
  await rabbitmq[Symbol.asyncDispose]();
});

/** Image Builder in a virtual host of its own. */
async function house({ rabbitmq }: Context, name: keyof typeof houses) {
  const amqpUrl = `${rabbitmq.url}/${encodeURIComponent(name)}`;
  const lines: string[] = [];
  const log = createLog({ level: 'warn', write: (line) => lines.push(line) });
  const settings = { amqpUrl, leaseMs, eventRetentionSeconds: 3_600, eventRetentionBytes: 50_000_000, log };
  const broker = await openBroker({ ...settings, reviveEveryMs: 500 });
  await broker.ledger.ready();
  const client = await connect(amqpUrl);
  const channel = await client.createChannel();
  return {
    ...{ amqpUrl, settings, broker, channel, lines },
    async [Symbol.asyncDispose]() {
      await client.close();
      await broker[Symbol.asyncDispose]();
    },
  };
}

const submitTo = async (broker: Broker, progress_trigger = `p.${randomUUID()}`) => {
  const request = parseBuildRequest({ ...exampleRequest, cancel_url: undefined, progress_trigger });
  const admit = () => ({ [Symbol.dispose]() {} });
  return await submit(broker, { request, callback: null, caller: 'anonymous', trace: startOperation(null), admit });
};

/** A worker that notes the builds that it takes, and has them fail. */
function worker(broker: Broker) {
  const built: string[] = [];
  const ended: unknown[] = [];
  const { takeBuilds } = createWorker({
    ...{ name: 'w', broker, heldMs: 200, log: createLog({ write: () => {} }) },
    runBuild: async ({ buildId }) => {
      built.push(buildId);
      throw new ImageBuilderError('image.not_found', 'built');
    },
    getJson: async () => ({}),
    onEnd: (imageType, state, error) => ended.push([imageType, state, error?.fault, error?.code]),
    deliveries: { add() {} },
    discard: async () => {},
    openLog: () => Promise.reject(new Error('the log is not of this test')),
    wake() {},
    settings: {
      ...{ heartbeatMs: 400, leaseMs, maximumAttempts: 3, buildTimeoutMs: 60_000 },
      ...{ cancelPollMs: 1_000, callbackTimeoutMs: 1_000 },
    },
  });
  return { built, ended, look: () => takeBuilds({ stopping: new AbortController().signal, deadline: Infinity }) };
}

async function until(what: string, look: () => Promise<boolean> | boolean): Promise<void> {
  for (const end = Date.now() + 30_000; Date.now() < end; await delay(50)) if (await look()) return;
  throw new Error(`waited 30 seconds in vain: ${what}`);
}

test('a job that a message-ttl expires is put back and built', async (context) => {
  await using at = await house(context, 'aged');
  const { buildId } = await submitTo(at.broker);
  await until('it is dropped', () => at.lines.length > 0);
  const { built, look } = worker(at.broker);
  await until('it is built', async () => {
    await look();
    return built.length > 0;
  });
  assert.equal(built, [buildId]);
  assert.equal(await at.broker.jobs.aside(), { dropped: 0, buried: 0 });
  assert.match(at.lines[0] ?? '', /RabbitMQ has dropped jobs.*"reason":"expired".*message-ttl/);
});

test('a job outlives a message-ttl on every queue while no worker has time for it', async (context) => {
  await using at = await house(context, 'aged everywhere');
  const { buildId } = await submitTo(at.broker);
  await delay(6_000);
  const { built, look } = worker(at.broker);
  await until('it is built', async () => {
    await look();
    return built.length > 0;
  });
  assert.equal(built, [buildId]);
  assert.is(at.broker.ledger.get(buildId)?.attempt, 1);
});

test('a job that was delivered more often than a policy allows is built', async (context) => {
  await using at = await house(context, 'delivered once');
  const { buildId } = await submitTo(at.broker);
  await until('it is dropped', async () => {
    await (await at.broker.jobs.take())?.release();
    return at.lines.length > 0;
  });
  const { built, look } = worker(at.broker);
  await until('it is built', async () => {
    await look();
    return built.length > 0;
  });
  assert.equal(built, [buildId]);
});

test('a submission to a queue that is full by a policy is refused with the reason', async (context) => {
  await using at = await house(context, 'full');
  let refused: unknown;
  for (let round = 0; round < 5 && refused === undefined; round += 1) {
    await submitTo(at.broker).catch((error: unknown) => {
      refused = error;
    });
  }
  assert.instance(refused, ImageBuilderError);
  const { message } = refused as ImageBuilderError;
  assert.match(message, /imagebuilder\.builds: it is full, by the max-length/, message);
});

test('a build whose job was purged ends, its caller learns of it, and may ask again', async (context) => {
  await using at = await house(context, 'purged');
  const trigger = `p.${randomUUID()}`;
  await using caller = await startCaller(at.amqpUrl, trigger);
  const { buildId } = await submitTo(at.broker, trigger);
  await at.channel.purgeQueue(queues.builds);
  const { built, ended, look } = worker(at.broker);
  await until('it ends', async () => {
    await look();
    return at.broker.ledger.get(buildId)?.state === 'failed';
  });
  await until('the caller learns of it', () => caller.events.some(({ state }) => state === 'failed'));
  const end = caller.events.at(-1);
  assert.is(end?.error?.code, 'build.lost');
  assert.is(end?.error?.retryable, true);
  assert.equal(ended, [['cloud', 'failed', 'service', 'build.lost']]);
  const again = await submitTo(at.broker, trigger);
  assert.is(again.isNew, true);
  await look();
  assert.equal(built, [again.buildId]);
});

test('builds that wait or are leased are not ended, however often workers look', async (context) => {
  await using at = await house(context, 'leased');
  const waiting = await submitTo(at.broker);
  const taken = await at.broker.jobs.take();
  await taken?.lease();
  const busy = worker(at.broker);
  for (let round = 0; round < 8; round += 1) {
    await busy.look();
    await delay(100);
  }
  await until('it is built', async () => {
    await busy.look();
    return busy.built.length > 0;
  });
  assert.equal(busy.built, [waiting.buildId]);
});

test('a cancelled build whose job is gone ends at once', async (context) => {
  await using at = await house(context, 'cancelled');
  const { buildId } = await submitTo(at.broker);
  await at.channel.deleteQueue(queues.builds);
  await at.broker.requestCancel(buildId);
  await delay(300);
  await worker(at.broker).look();
  assert.is(at.broker.ledger.get(buildId)?.state, 'cancelled');
});

test('queues that are deleted come back before the next job', async (context) => {
  await using at = await house(context, 'deleted');
  const { events: _events, ...others } = queues;
  for (const queue of Object.values(others)) await at.channel.deleteQueue(queue);
  await worker(at.broker).look();
  assert.is(await at.broker.jobs.depth(), 0);
  assert.equal(await at.broker.jobs.aside(), { dropped: 0, buried: 0 });
  const { buildId } = await submitTo(at.broker);
  const { built, look } = worker(at.broker);
  await look();
  assert.equal(built, [buildId]);
});

test('a new events stream knows the builds of the one that was deleted', async (context) => {
  await using at = await house(context, 'another stream');
  const [waiting, ended] = [await submitTo(at.broker), await submitTo(at.broker)];
  await at.broker.requestCancel(ended.buildId);
  await (await at.broker.jobs.take())?.release();
  await at.channel.deleteQueue(queues.events);
  await using fresh = await openBroker(at.settings);
  await until('a new process knows it', () => fresh.ledger.get(waiting.buildId)?.state === 'queued');
  await until('the other, too', () => fresh.ledger.get(ended.buildId)?.cancelling === true);
});

test.run();
