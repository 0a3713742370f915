import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { connect, type GetMessage } from 'amqplib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { BuildEvent } from '#lib/api/event.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { createLog, type Log } from '#lib/log.ts';
import { type Broker, type BrokerOptions, openBroker } from '#lib/queue/broker.ts';
import { openConnection } from '#lib/queue/connection.ts';
import { type BuildJob, decodeJob, encodeJob } from '#lib/queue/job.ts';
import { openProgress } from '#lib/queue/progress.ts';
import { queues } from '#lib/queue/topology.ts';
import { type RabbitMq, startRabbitMq } from '../../lab/servers/rabbitmq.ts';
import { buildEvent } from '../unit/queue/build-event.ts';

interface Context {
  rabbitmq: RabbitMq;
}

const test = suite<Context>('queue');
const quiet: Log = createLog({ level: 'error' });

test.before(async (context) => {
  context.rabbitmq = await startRabbitMq();
  // A dead letter whose queue is missing is tried again after this time; RabbitMQ's own setting is 3 minutes.
  await context.rabbitmq.control([
    'eval',
    'application:set_env(rabbit,dead_letter_worker_publisher_confirm_timeout,1000).',
  ]);
});
test.after(async ({ rabbitmq }) => {
  await rabbitmq[Symbol.asyncDispose]();
});

function open({ rabbitmq }: Context, options: Partial<BrokerOptions> = {}): Promise<Broker> {
  return openBroker({
    amqpUrl: rabbitmq.url,
    leaseMs: 1_500,
    eventRetentionSeconds: 3_600,
    eventRetentionBytes: 50_000_000,
    log: quiet,
    ...options,
  });
}

function newJob(trigger = `trigger.${randomUUID()}`): BuildJob {
  return {
    build_id: randomUUID(),
    request: {
      ticket_id: 'T-1',
      base_image: { image_type: 'cloud', url_list: ['http://127.0.0.1/image.img'], series: 'noble' },
      ppa_list: ['ppa:owner/name'],
      progress_trigger: trigger,
    },
    callback: null,
    submitted_at: new Date().toISOString(),
  };
}

function eventOf(job: BuildJob, values: Partial<BuildEvent>): BuildEvent {
  const { ticket_id, progress_trigger } = job.request;
  return buildEvent({ build_id: job.build_id, ticket_id, progress_trigger, time: new Date().toISOString(), ...values });
}

/** Waits for something that has no event of its own. */
async function until<Value>(
  what: string,
  look: () => Promise<Value | null | undefined | false> | Value | null | undefined | false,
): Promise<Value> {
  for (const end = Date.now() + 30_000; Date.now() < end; ) {
    const value = await look();
    if (value !== null && value !== undefined && value !== false) return value;
    await delay(50);
  }
  throw new Error(`waited 30 seconds in vain: ${what}`);
}

async function emptyQueues(broker: Broker): Promise<void> {
  for (;;) {
    const taken = await broker.jobs.take();
    if (taken === null) return;
    await taken.drop();
  }
}

test('a submitted job is taken whole, and once', async (context) => {
  await using broker = await open(context);
  const job = newJob();
  await broker.jobs.submit(job);
  assert.is(await broker.jobs.depth(), 1);
  const taken = await broker.jobs.take();
  assert.equal(taken?.job, job);
  assert.is(await broker.jobs.take(), null);
  await taken?.drop();
  assert.is(await broker.jobs.depth(), 0);
});

test('a released job is there again at once', async (context) => {
  await using broker = await open(context);
  const job = newJob();
  await broker.jobs.submit(job);
  await (await broker.jobs.take())?.release();
  const again = await until('the job is back', () => broker.jobs.take());
  assert.equal(again.job, job);
  await again.drop();
});

test('a leased job comes back when its lease is over, also where the lease setting differs between workers', async (context) => {
  await using longer = await open(context, { leaseMs: 1_600 });
  await using broker = await open(context);
  const job = newJob();
  await longer.jobs.submit(job);
  await (await longer.jobs.take())?.lease();
  assert.is(await broker.jobs.take(), null);
  const again = await until('the lease is over', () => broker.jobs.take());
  assert.equal(again.job, job);
  await again.drop();
});

test('a lease that ends while the queue of jobs is missing is not lost', async (context) => {
  const leaseMs = 4_000;
  await using broker = await open(context, { leaseMs });
  const client = await connect(context.rabbitmq.url);
  const channel = await client.createChannel();
  const job = newJob();
  await broker.jobs.submit(job);
  await (await broker.jobs.take())?.lease();
  // Not by rabbitmqctl, which may take longer than a lease: then the job would be in the queue by then.
  await channel.deleteQueue(queues.builds);
  await client.close();
  await delay(leaseMs + 1_000);
  // Sending a job declares the queue anew.
  const other = newJob();
  await broker.jobs.submit(other);
  const found = new Set<string>();
  await until('both jobs', async () => {
    const taken = await broker.jobs.take();
    if (taken === null) return false;
    found.add(taken.job.build_id);
    await taken.drop();
    return found.size === 2;
  });
  assert.ok(found.has(job.build_id));
  assert.ok(found.has(other.build_id));
});

test('a message that is no job is buried as it is, and the next job is taken', async (context) => {
  await using broker = await open(context, { log: createLog({ write: () => {} }) });
  const job = newJob();
  const client = await connect(context.rabbitmq.url);
  const channel = await client.createConfirmChannel();
  await broker.ledger.ready();
  channel.sendToQueue(queues.builds, Buffer.from('{"nonsense":'), { messageId: 'odd' });
  await channel.waitForConfirms();
  await broker.jobs.submit(job);
  const taken = await until('the job behind the odd message', () => broker.jobs.take());
  assert.equal(taken.job, job);
  await taken.drop();
  const buried = await until('the odd message', () => channel.get(queues.buried, { noAck: true }));
  assert.is(buried.content.toString(), '{"nonsense":');
  assert.is(buried.properties.messageId, 'odd');
  await client.close();
});

test('a buried job stays however often an operator looks at it, also one that an earlier version has buried', async (context) => {
  const client = await connect(context.rabbitmq.url);
  const channel = await client.createConfirmChannel();
  // Earlier versions declared it so, and RabbitMQ 4 drops what was put back there 20 times.
  await channel.assertQueue(queues.dead, { arguments: { 'x-queue-type': 'quorum' } });
  const [early, late] = [newJob(), newJob()];
  channel.sendToQueue(queues.dead, encodeJob(early), { messageId: early.build_id, headers: { why: 'lost' } });
  await channel.waitForConfirms();
  await using broker = await open(context);
  await broker.jobs.bury(late);
  assert.equal(await broker.jobs.aside(), { dropped: 1, buried: 1 });
  assert.is(await broker.jobs.revive(), 0);
  assert.is((await channel.checkQueue(queues.dead)).messageCount, 0);
  const look = async (ackAll: boolean) => {
    const found: GetMessage[] = [];
    for (let message = await channel.get(queues.buried); message; message = await channel.get(queues.buried)) {
      found.push(message);
    }
    if (ackAll) channel.ackAll();
    else channel.nackAll(true);
    return found;
  };
  // RabbitMQ 3 keeps a message without a limit too: the argument is what RabbitMQ 4 goes by.
  const declared = await context.rabbitmq.control(['list_queues', 'name', 'arguments']);
  assert.match(declared, /imagebuilder\.buried\t.*"x-delivery-limit",1000000000/);
  for (let round = 0; round < 25; round += 1) assert.is((await look(false)).length, 2);
  const messages = await look(true);
  const ids = messages.map(({ properties }) => String(properties.messageId));
  assert.equal(new Set(ids), new Set([early.build_id, late.build_id]));
  const moved = messages.find(({ properties }) => properties.messageId === early.build_id);
  assert.equal(moved && decodeJob(moved.content), early);
  assert.is(moved?.properties.headers?.why, 'lost');
  await client.close();
});

test('a job that is held across a short consumer_timeout is not lost, and leases need no acknowledgement for long', async (context) => {
  await context.rabbitmq.setConsumerTimeout(1_000);
  await using broker = await open(context);
  const job = newJob();
  await broker.jobs.submit(job);
  const held = await broker.jobs.take();
  // RabbitMQ closes the channel of the held job; everything else goes on.
  const again = await until('RabbitMQ gives the held job away', () => broker.jobs.take());
  assert.equal(again.job, job);
  await held?.drop();
  await again.lease();
  await broker.publishEvent(eventOf(job, {}));
  assert.is(broker.ledger.get(job.build_id)?.state, 'queued');
  await (await until('the lease is over', () => broker.jobs.take())).drop();
  await context.rabbitmq.setConsumerTimeout(1_800_000);
});

test('of many claims on many connections exactly one wins, and only its owner is heard', async (context) => {
  await using one = await open(context);
  await using two = await open(context);
  await using three = await open(context);
  const job = newJob();
  await one.publishEvent(eventOf(job, {}));
  const claims = await Promise.all(
    // The last two have the same name: two calls of one worker.
    [one, two, three, three].map((broker, index) =>
      broker.claim(job, { worker: `worker-${Math.min(index, 2)}`, attempt: 1, sequence: 1 }),
    ),
  );
  assert.is(claims.filter((claim) => claim === 'won').length, 1);
  assert.is(claims.filter((claim) => claim === 'lost').length, 3);
  await two.ledger.sync();
  const owner = two.ledger.get(job.build_id)?.owner;
  const stranger = owner === 'worker-0' ? 'worker-1' : 'worker-0';
  const verdict = await one.publishEvent(
    eventOf(job, { state: 'completed', worker: stranger, attempt: 1, sequence: 9 }),
  );
  assert.is(verdict, 'not_owner');
  assert.is(
    await one.publishEvent(eventOf(job, { state: 'failed', worker: owner ?? null, attempt: 1, sequence: 2 })),
    'applied',
  );
  assert.is(await three.claim(job, { worker: 'late', attempt: 2, sequence: 3 }), 'finished');
});

/** Fills up with the sequence number of every event of the build that counts from now on; other records have none. */
function sequencesOf({ ledger }: Broker, job: BuildJob): readonly number[] {
  const sequences: number[] = [];
  let newest: BuildEvent | undefined;
  ledger.onChange(job.build_id, ({ event }) => {
    if (event !== newest) sequences.push(event.sequence);
    newest = event;
  });
  return sequences;
}

test('a broker that is stopped and comes back keeps jobs and events in their order', async (context) => {
  await using broker = await open(context);
  await using follower = await open(context);
  await emptyQueues(broker);
  const job = newJob();
  const seen = sequencesOf(follower, job);
  await Promise.all([broker.ledger.ready(), follower.ledger.ready()]);
  await broker.jobs.submit(job);
  await broker.publishEvent(eventOf(job, {}));
  assert.is(await broker.claim(job, { worker: 'w', attempt: 1, sequence: 1 }), 'won');
  const restart = context.rabbitmq.restart();
  const sent: Promise<string>[] = [];
  for (let sequence = 2; sequence <= 21; sequence += 1) {
    sent.push(
      broker.publishEvent(eventOf(job, { state: 'running', worker: 'w', attempt: 1, sequence }), {
        patienceMs: 60_000,
      }),
    );
    await delay(20);
  }
  await restart;
  assert.equal(new Set(await Promise.all(sent)), new Set(['applied']));
  await follower.ledger.sync(20_000);
  assert.equal(
    seen,
    Array.from({ length: 22 }, (_, sequence) => sequence),
  );
  const taken = await until('the job', () => broker.jobs.take());
  assert.is(taken.job.build_id, job.build_id);
  await taken.drop();
});

test('a power cut of the broker loses nothing that was confirmed', async (context) => {
  await using broker = await open(context);
  await emptyQueues(broker);
  const job = newJob();
  await broker.jobs.submit(job);
  await broker.publishEvent(eventOf(job, {}));
  await context.rabbitmq.restart({ kill: true });
  await using fresh = await open(context);
  await fresh.ledger.ready();
  assert.is(fresh.ledger.get(job.build_id)?.state, 'queued');
  const taken = await until('the job', () => fresh.jobs.take());
  assert.is(taken.job.build_id, job.build_id);
  await taken.drop();
});

test('connections that the broker closes come back, and nothing is lost or doubled', async (context) => {
  await using broker = await open(context);
  const job = newJob();
  const seen = sequencesOf(broker, job);
  await broker.publishEvent(eventOf(job, {}));
  await broker.claim(job, { worker: 'w', attempt: 1, sequence: 1 });
  for (let round = 0; round < 3; round += 1) {
    const closing = context.rabbitmq.closeAllConnections();
    for (let step = 0; step < 5; step += 1) {
      const sequence = 2 + round * 5 + step;
      assert.is(
        await broker.publishEvent(eventOf(job, { state: 'running', worker: 'w', attempt: 1, sequence })),
        'applied',
      );
    }
    await closing;
  }
  assert.equal(
    seen,
    Array.from({ length: 17 }, (_, sequence) => sequence),
  );
});

test('while the broker is away calls fail soon and say so, and the last known builds are still shown', async (context) => {
  await using broker = await open(context);
  const job = newJob();
  await broker.publishEvent(eventOf(job, {}));
  await context.rabbitmq.stop();
  try {
    const error = await broker.jobs.submit(newJob()).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.instance(error, ImageBuilderError);
    assert.is((error as ImageBuilderError).code, 'broker.unreachable');
    assert.type((error as ImageBuilderError).retryAfterSeconds, 'number');
    assert.is(broker.reachable().reachable, false);
    assert.is(broker.ledger.get(job.build_id)?.state, 'queued');
    await using cold = await open(context);
    assert.is(cold.reachable().reachable, false);
  } finally {
    await context.rabbitmq.start();
  }
  await broker.jobs.submit(job);
  await broker.ledger.ready();
  await emptyQueues(broker);
});

test('a new process knows every build from the stream, and superseded ones as such', async (context) => {
  await using broker = await open(context);
  const job = newJob();
  const twin = newJob(job.request.progress_trigger);
  await broker.publishEvent(eventOf(job, {}));
  assert.is(await broker.publishEvent(eventOf(twin, {})), 'superseded');
  await broker.claim(job, { worker: 'w', attempt: 1, sequence: 1 });
  assert.is(await broker.requestCancel(job.build_id), 'applied');
  await using fresh = await open(context);
  await fresh.ledger.ready();
  const build = fresh.ledger.get(job.build_id);
  assert.is(build?.owner, 'w');
  assert.is(build?.cancelling, true);
  assert.is(fresh.ledger.get(twin.build_id)?.supersededBy, job.build_id);
  assert.is(await fresh.claim(twin, { worker: 'w', attempt: 1, sequence: 1 }), 'superseded');
});

test('a stream that was deleted is declared and followed anew', async (context) => {
  await using broker = await open(context);
  const before = newJob();
  await broker.publishEvent(eventOf(before, {}));
  await context.rabbitmq.control(['delete_queue', queues.events]);
  const job = newJob();
  assert.is(await broker.publishEvent(eventOf(job, {}), { patienceMs: 60_000 }), 'applied');
  assert.is(broker.ledger.get(job.build_id)?.state, 'queued');
});

test('records that are not understood are skipped', async (context) => {
  await using broker = await open(context, { log: createLog({ level: 'error', write: () => {} }) });
  await broker.ledger.ready();
  const client = await connect(context.rabbitmq.url);
  const channel = await client.createConfirmChannel();
  for (const body of ['no json', '{"kind":"tomorrow"}', '{"kind":"event","id":1}']) {
    channel.sendToQueue(queues.events, Buffer.from(body));
  }
  await channel.waitForConfirms();
  await client.close();
  const job = newJob();
  assert.is(await broker.publishEvent(eventOf(job, {})), 'applied');
});

test('progress goes only where a caller may send it, and not after newer progress; an end is always sent', async ({
  rabbitmq,
}) => {
  const model = await connect(rabbitmq.url);
  const channel = await model.createChannel();
  const mailbox = `mailbox.${randomUUID()}`;
  const exchange = `caller.${randomUUID()}`;
  await channel.assertQueue(mailbox);
  await channel.assertExchange(exchange, 'fanout');
  for (const source of [exchange, 'amq.fanout']) await channel.bindQueue(mailbox, source, '');
  const own = await channel.assertQueue(`imagebuilder.${randomUUID()}`, { autoDelete: true });

  await using connection = await openConnection({
    amqpUrl: rabbitmq.url,
    name: 'progress',
    setup: async () => {},
    log: quiet,
  });
  await using progress = openProgress(connection, {
    isOvertaken: ({ sequence }) => sequence < 5,
    log: createLog({ level: 'error' }),
  });
  const send = (trigger: string, values: Partial<BuildEvent>) => progress.send(eventOf(newJob(trigger), values), null);
  assert.is(await send(exchange, { sequence: 4, state: 'running' }), false);
  assert.is(await send(exchange, { sequence: 4, state: 'failed' }), true);
  assert.is(await send(exchange, { sequence: 5, state: 'running' }), true);
  for (const name of ['amq.fanout', own.queue, '', 'a b'])
    assert.is(await send(name, { state: 'failed' }), false, name);
  assert.is((await channel.checkQueue(own.queue)).messageCount, 0);
  const told: unknown[] = [];
  for (;;) {
    const message = await channel.get(mailbox, { noAck: true });
    if (message === false) break;
    const { sequence, state } = JSON.parse(message.content.toString()) as BuildEvent;
    told.push([sequence, state]);
  }
  assert.equal(told, [
    [4, 'failed'],
    [5, 'running'],
  ]);
  await model.close();
});

test('an exchange that refuses every message holds up only those who named it, and not for long', async ({
  rabbitmq,
}) => {
  const model = await connect(rabbitmq.url);
  const channel = await model.createChannel();
  const [full, fine] = [`full.${randomUUID()}`, `fine.${randomUUID()}`];
  await channel.assertQueue(full, { arguments: { 'x-max-length': 0, 'x-overflow': 'reject-publish' } });
  for (const exchange of [full, fine]) await channel.assertExchange(exchange, 'fanout', { autoDelete: true });
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(full, full, '');
  await channel.bindQueue(queue, fine, '');
  await using connection = await openConnection({
    amqpUrl: rabbitmq.url,
    name: 'progress',
    setup: async () => {},
    log: quiet,
  });
  await using progress = openProgress(connection, { isOvertaken: () => false, log: createLog({ write: () => {} }) });
  const ends: string[] = [];
  const send = async (name: string) => {
    const sent = await progress.send(eventOf(newJob(name), { state: 'running' }), null);
    ends.push(name);
    return sent;
  };
  const refused = Array.from({ length: 20 }, () => send(full));
  assert.is(await send(fine), true);
  assert.equal(ends, [fine]);
  assert.ok((await Promise.all(refused)).every((sent) => !sent));
  await model.close();
});

test('a worker’s first event does not come before the event of the submission, even if the worker is faster', async (context) => {
  await using submitter = await open(context);
  await using worker = await open(context);
  await Promise.all([submitter.ledger.ready(), worker.ledger.ready()]);
  const model = await connect(context.rabbitmq.url);
  const channel = await model.createChannel();
  for (let count = 0; count < 10; count += 1) {
    const job = newJob();
    const exchange = job.request.progress_trigger;
    const { queue } = await channel.assertQueue('', { exclusive: true });
    await channel.assertExchange(exchange, 'fanout', { autoDelete: true });
    await channel.bindQueue(queue, exchange, '');
    // The worker knows the exchange already, while the submitter has to look for it.
    const other = { ...newJob(exchange), request: { ...job.request, ticket_id: 'another' } };
    await worker.publishEvent(eventOf(other, {}));

    const submitted = submitter.publishEvent(eventOf(job, {}));
    await worker.ledger.when(job.build_id, () => true, 30_000);
    assert.is(await worker.claim(job, { worker: 'w', attempt: 1, sequence: 1 }), 'won');
    assert.is(await submitted, 'applied');
    const told: string[] = [];
    for (;;) {
      const message = await channel.get(queue, { noAck: true });
      if (message === false) break;
      const { build_id, state } = JSON.parse(message.content.toString()) as BuildEvent;
      if (build_id === job.build_id) told.push(state);
    }
    assert.equal(told, ['queued', 'running']);
  }
  await model.close();
});

test('a stream with another retention is used as it is', async (context) => {
  const lines: string[] = [];
  const log = createLog({ level: 'warn', write: (line) => lines.push(line) });
  await using broker = await open(context, { eventRetentionSeconds: 60, eventRetentionBytes: 9_000_000, log });
  const job = newJob();
  assert.is(await broker.publishEvent(eventOf(job, {})), 'applied');
  assert.ok(lines.some((line) => line.includes('another retention')));
});

test('a function that starts after the head of the stream is cut off knows every build that has not ended', async (context) => {
  await context.rabbitmq.control(['add_vhost', 'small']);
  await context.rabbitmq.control(['set_permissions', '-p', 'small', 'guest', '.*', '.*', '.*']);
  const small = {
    amqpUrl: `${context.rabbitmq.url}/small`,
    eventRetentionBytes: 1024 * 1024,
    refreshSpreadMs: 0,
  };
  await using broker = await open(context, small);
  const [waiting, cancelled, handedBack, at, ended] = [newJob(), newJob(), newJob(), newJob(), newJob()];
  for (const job of [waiting, cancelled, handedBack, at, ended]) await broker.publishEvent(eventOf(job, {}));
  const twin = { ...newJob(waiting.request.progress_trigger) };
  assert.is(await broker.publishEvent(eventOf(twin, {})), 'superseded');
  assert.is(await broker.requestCancel(cancelled.build_id), 'applied');
  for (const attempt of [1, 2, 3]) {
    await broker.claim(handedBack, { worker: 'w', attempt, sequence: 2 * attempt });
    const back = { worker: 'w', attempt, sequence: 2 * attempt + 1 };
    assert.is(await broker.publishEvent(eventOf(handedBack, back)), 'applied');
  }
  for (const job of [at, ended]) await broker.claim(job, { worker: 'w', attempt: 1, sequence: 1 });
  await broker.publishEvent(eventOf(ended, { state: 'completed', worker: 'w', attempt: 1, sequence: 2 }));

  // Others write as much as they may, four times what the stream holds.
  const message = 'x'.repeat(12_000);
  const write = async (count: number) => {
    const busy = newJob();
    await broker.publishEvent(eventOf(busy, {}));
    await broker.claim(busy, { worker: 'v', attempt: 1, sequence: 1 });
    for (let sequence = 2; sequence < 2 + count; sequence += 1) {
      const values = {
        state: sequence === count + 1 ? 'failed' : 'running',
        worker: 'v',
        attempt: 1,
        sequence,
      } as const;
      assert.is(await broker.publishEvent(eventOf(busy, { ...values, message })), 'applied');
    }
  };
  for (let round = 0; round < 10; round += 1) await write(40);

  await using fresh = await open(context, small);
  await fresh.ledger.ready();
  assert.is(fresh.ledger.get(ended.build_id), undefined, 'the head is cut off');
  for (const { build_id } of [waiting, cancelled, handedBack, at]) {
    const shown = ({ ledger }: Broker) => {
      const { state, attempt, owner, cancelling } = ledger.get(build_id) ?? {};
      return { state, attempt, owner, cancelling };
    };
    assert.equal(shown(fresh), shown(broker));
  }
  assert.is(fresh.ledger.get(handedBack.build_id)?.handBacks, 3, 'no attempt counts as lost');
  assert.is(fresh.ledger.get(twin.build_id)?.supersededBy, waiting.build_id);
  // Neither is a request built twice, nor a build by two workers, nor one given up.
  const again = newJob(waiting.request.progress_trigger);
  assert.is(await fresh.publishEvent(eventOf(again, {})), 'superseded');
  assert.is(await fresh.claim(twin, { worker: 'n', attempt: 1, sequence: 1 }), 'superseded');
  const claims = await Promise.all([
    broker.claim(handedBack, { worker: 'o', attempt: 4, sequence: 8 }),
    fresh.claim(handedBack, { worker: 'n', attempt: 4, sequence: 8 }),
  ]);
  assert.equal(claims.sort(), ['lost', 'won']);
  assert.is(await fresh.claim(waiting, { worker: 'n', attempt: 1, sequence: 1 }), 'won');
  assert.is(await broker.claim(at, { worker: 'o', attempt: 2, sequence: 2 }), 'won');
  assert.is(await fresh.claim(at, { worker: 'n', attempt: 2, sequence: 2 }), 'lost');
  const end = { state: 'completed', worker: 'n', attempt: 1, sequence: 2 } as const;
  assert.is(await fresh.publishEvent(eventOf(waiting, end)), 'applied');
  await broker.ledger.sync();
  assert.is(broker.ledger.get(waiting.build_id)?.state, 'completed');
});

test('a queue of another kind under one of our names is refused with its name', async (context) => {
  await context.rabbitmq.control(['add_vhost', 'taken']);
  await context.rabbitmq.control(['set_permissions', '-p', 'taken', 'guest', '.*', '.*', '.*']);
  const client = await connect(`${context.rabbitmq.url}/taken`);
  await (await client.createChannel()).assertQueue(queues.events, { durable: true });
  await client.close();
  await using broker = await open(context, { amqpUrl: `${context.rabbitmq.url}/taken` });
  const error = await broker.jobs.submit(newJob()).catch((thrown: unknown) => thrown);
  assert.instance(error, ImageBuilderError);
  assert.is((error as ImageBuilderError).code, 'config.invalid');
  assert.match((error as ImageBuilderError).message, queues.events);
});

test('a wrong password is reported without the password', async (context) => {
  const amqpUrl = context.rabbitmq.url.replace('amqp://', 'amqp://somebody:hush-hush@');
  await using broker = await open(context, { amqpUrl, log: createLog({ write: () => {} }) });
  const error = await broker.jobs.submit(newJob()).catch((thrown: unknown) => thrown);
  assert.is((error as ImageBuilderError).code, 'broker.unreachable');
  assert.not.match((error as ImageBuilderError).message, 'hush-hush');
  assert.match((error as ImageBuilderError).message, /ACCESS_REFUSED|refused/i);
});

test.run();
