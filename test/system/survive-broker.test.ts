import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isTerminal } from '#lib/api/event.ts';
import { type Fleet, leaseSeconds } from '../../lab/fleet/fleet.ts';
import { startCaller } from '../../lab/servers/caller.ts';
import { whenLong } from '../runner/long.ts';
import { assertInOrder, withoutRepeats } from './faults/events.ts';
import { assertCompleted, assertEndedWell, scenarios, submitHeld } from './faults/scenarios.ts';
import { smallImage } from './faults/small-image.ts';

/** RabbitMQ taken away, and kept from taking messages, in the middle of builds: they go on, and finish once. */

const inFleet = scenarios(async () => ({ base: await smallImage() }));

/** A scenario with two workers. */
function scenario(name: string, body: (fleet: Fleet) => Promise<void>): void {
  inFleet(name, async (fleet) => {
    await fleet.startWorker('worker-1');
    await fleet.startWorker('worker-2');
    await body(fleet);
  });
}

const long = whenLong(scenario);

/** Runs a build, has the fault in the middle of its installation, and checks that it went on and finished once. */
async function buildThrough(fleet: Fleet, fault: () => Promise<void>): Promise<void> {
  const buildId = await submitHeld(fleet);
  await fault();
  fleet.gate.open();
  const { event } = await fleet.ended(buildId);
  assertCompleted(event, 1);
  assertInOrder(withoutRepeats(await fleet.notifications(buildId)));
}

long('RabbitMQ restarted', async (fleet) => {
  await buildThrough(fleet, () => fleet.rabbitMq.restart());
});

scenario('RabbitMQ killed and away for longer than a lease', async (fleet) => {
  await buildThrough(fleet, async () => {
    await fleet.rabbitMq.stop({ kill: true });
    await sleep(1.5 * leaseSeconds * 1000);
    await fleet.rabbitMq.start();
  });
});

scenario('RabbitMQ away while a build ends: its caller is notified when RabbitMQ is back', async (fleet) => {
  const buildId = await submitHeld(fleet);
  await fleet.rabbitMq.stop();
  fleet.gate.open();
  // Time for the rest of the build; it must not matter whether it was enough.
  await sleep(8_000);
  await fleet.rabbitMq.start();
  await assertEndedWell(fleet, await fleet.ended(buildId), 1);
});

scenario('every connection closed, again and again', async (fleet) => {
  await buildThrough(fleet, async () => {
    for (let count = 0; count < 3; count += 1) {
      await fleet.rabbitMq.closeAllConnections();
      await sleep(1_000);
    }
  });
});

long('a consumer_timeout of a second', async (fleet) => {
  await fleet.rabbitMq.setConsumerTimeout(1_000);
  await buildThrough(fleet, () => sleep(5_000));
});

for (const [what, on, off] of [
  ['memory', ['set_vm_memory_high_watermark', 'absolute', '1'], ['set_vm_memory_high_watermark', 'absolute', '512MB']],
  ['disk', ['set_disk_free_limit', '100000GB'], ['set_disk_free_limit', '50MB']],
] as const) {
  (what === 'disk' ? scenario : long)(
    `a ${what} alarm for longer than a lease: submissions are refused whole, the build goes on`,
    async (fleet) => {
      const refused: string[] = [];
      await buildThrough(fleet, async () => {
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
      // A refused submission is not built later either.
      await sleep(2 * leaseSeconds * 1000);
      const built = fleet.broker.ledger.builds(new Date()).map(({ ticketId, state }) => `${ticketId} ${state}`);
      assert.equal(
        built.filter((line) => refused.some((ticket) => line.startsWith(ticket))),
        [],
      );
      const told = (await fleet.mailbox.read()).filter((event) => refused.includes(String(event.ticket_id)));
      assert.equal(told, []);
    },
  );
}

long(
  'a caller whose exchange goes with RabbitMQ is notified of the end when it has declared it again',
  async (fleet) => {
    const exchange = 'testbuild-2-imagebuilder';
    const before = await startCaller(fleet.rabbitMq.url, exchange);
    const buildId = await submitHeld(fleet, { progress_trigger: exchange });
    await fleet.rabbitMq.restart();
    fleet.gate.open();
    await fleet.ended(buildId);
    await using again = await startCaller(fleet.rabbitMq.url, exchange);
    for (const end = Date.now() + 60_000; Date.now() < end && !again.events.some(({ state }) => isTerminal(state)); ) {
      await sleep(50);
    }
    assertInOrder([...before.events, ...again.events]);
  },
);

test.run();
