import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'amqplib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BuildEvent, isTerminal } from '#lib/api/event.ts';
import type { BuildView } from '#lib/queue/projection.ts';
import { assertInOrder } from './faults/events.ts';
import { type Fleet, leaseSeconds, startFleet } from './faults/fleet.ts';
import { assertNothingLeft, type Observation, observe } from './leaks.ts';

/** RabbitMQ taken away, and kept from taking messages, in the middle of builds: they go on, and finish once. */

let fleet: Fleet;
let before: Observation;

test.before(async () => {
  fleet = await startFleet();
  before = await observe(fleet.workDirectory);
});

test.after(async () => {
  await fleet[Symbol.asyncDispose]();
});

/** A test with two workers, after which nothing may be left; uvu's own hooks would hide a failure of the test behind one of theirs. */
function scenario(name: string, body: () => Promise<void>): void {
  test(name, async () => {
    try {
      await fleet.startWorker('worker-1');
      await fleet.startWorker('worker-2');
      await body();
    } finally {
      fleet.gate.open();
      await fleet.killWorkers();
    }
    const processIds = new Set([...before.processIds, ...(await fleet.brokerProcesses())]);
    await assertNothingLeft({ ...before, processIds });
    assert.equal(await fleet.leftFiles(), []);
  });
}

/** Runs a build, has the fault in the middle of its installation, and checks that it went on and finished once. */
async function buildThrough(fault: (buildId: string) => Promise<void>): Promise<BuildView> {
  fleet.gate.close();
  const { buildId } = await fleet.submit(fleet.request({ package_list: ['slow'] }));
  await fleet.gate.reached();
  await fault(buildId);
  fleet.gate.open();
  const build = await fleet.ended(buildId);
  await assertFinishedOnce(build);
  return build;
}

async function assertFinishedOnce({ buildId, event }: BuildView): Promise<void> {
  assert.is(event.state, 'completed', `${event.error?.message}\n${event.error?.log_tail?.join('\n')}`);
  assert.is(event.attempt, 1);
  assertInOrder(await fleet.told(buildId));
}

scenario('RabbitMQ restarted', async () => {
  await buildThrough(() => fleet.rabbitMq.restart());
});

scenario('RabbitMQ killed and away for longer than a lease', async () => {
  await buildThrough(async () => {
    await fleet.rabbitMq.stop({ kill: true });
    await sleep(1.5 * leaseSeconds * 1000);
    await fleet.rabbitMq.start();
  });
});

scenario('RabbitMQ away while a build ends: its end is told when RabbitMQ is back', async () => {
  fleet.gate.close();
  const { buildId } = await fleet.submit(fleet.request({ package_list: ['slow'] }));
  await fleet.gate.reached();
  await fleet.rabbitMq.stop();
  fleet.gate.open();
  // Time for the rest of the build; it must not matter whether it was enough.
  await sleep(8_000);
  await fleet.rabbitMq.start();
  await assertFinishedOnce(await fleet.ended(buildId));
});

scenario('every connection closed, again and again', async () => {
  await buildThrough(async () => {
    for (let count = 0; count < 3; count += 1) {
      await fleet.rabbitMq.closeAllConnections();
      await sleep(1_000);
    }
  });
});

scenario('a consumer_timeout of a second', async () => {
  await fleet.rabbitMq.setConsumerTimeout(1_000);
  await buildThrough(() => sleep(5_000));
});

for (const [what, on, off] of [
  ['memory', ['set_vm_memory_high_watermark', 'absolute', '1'], ['set_vm_memory_high_watermark', 'absolute', '512MB']],
  ['disk', ['set_disk_free_limit', '100000GB'], ['set_disk_free_limit', '50MB']],
] as const) {
  scenario(`a ${what} alarm for longer than a lease: submissions are refused whole, the build goes on`, async () => {
    const refused: string[] = [];
    await buildThrough(async () => {
      await fleet.rabbitMq.control(on);
      const ticket = `T-${what}`;
      const answers = await Promise.all(
        [1, 2].map((count) => fleet.submit(fleet.request({ ticket_id: `${ticket}-${count}` }))),
      );
      for (const { status, retryAfter } of answers) {
        assert.equal([status, retryAfter], [503, '5']);
      }
      refused.push(`${ticket}-1`, `${ticket}-2`);
      await fleet.rabbitMq.control(off);
    });
    // What was refused is built by nobody, also not later.
    await sleep(2 * leaseSeconds * 1000);
    const built = fleet.broker.projection.builds(new Date()).map(({ ticketId, state }) => `${ticketId} ${state}`);
    assert.equal(
      built.filter((line) => refused.some((ticket) => line.startsWith(ticket))),
      [],
    );
    const told = (await fleet.mailbox.read()).filter((event) => refused.includes(String(event.ticket_id)));
    assert.equal(told, []);
  });
}

scenario('a caller whose exchange goes with RabbitMQ is told of the end when it has declared it again', async () => {
  const exchange = 'testbuild-2-imagebuilder';
  const events: BuildEvent[] = [];
  const listen = async () => {
    const connection = await connect(fleet.rabbitMq.url);
    connection.on('error', () => {});
    const channel = await connection.createChannel();
    channel.on('error', () => {});
    await channel.assertExchange(exchange, 'fanout', { durable: false, autoDelete: true });
    const { queue } = await channel.assertQueue('', { exclusive: true });
    await channel.bindQueue(queue, exchange, '');
    await channel.consume(
      queue,
      (message) => {
        if (message !== null) events.push(BuildEvent.parse(JSON.parse(message.content.toString('utf8'))));
      },
      { noAck: true },
    );
    return connection;
  };
  await listen();
  fleet.gate.close();
  const { buildId } = await fleet.submit(fleet.request({ package_list: ['slow'], progress_trigger: exchange }));
  await fleet.gate.reached();
  await fleet.rabbitMq.restart();
  fleet.gate.open();
  await fleet.ended(buildId);
  await using stack = new AsyncDisposableStack();
  const again = await listen();
  stack.defer(() => again.close());
  for (const end = Date.now() + 60_000; Date.now() < end && !events.some(({ state }) => isTerminal(state)); ) {
    await sleep(50);
  }
  assertInOrder(events);
});

test.run();
