import { readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isTerminal } from '#lib/api/event.ts';
import { call } from '../servers/function.ts';
import { assertInOrder } from './faults/events.ts';
import { type Fleet, leaseSeconds, startFleet } from './faults/fleet.ts';
import { assertNothingLeft, type Observation, observe } from './leaks.ts';

/** Workers told to stop, and everything asked for more than once: each build is built once. */

let fleet: Fleet;
let before: Observation;

test.before(async () => {
  fleet = await startFleet();
  before = await observe(fleet.workDirectory);
});

test.after(async () => {
  await fleet[Symbol.asyncDispose]();
});

/** A test after which nothing may be left; uvu's own hooks would hide a failure of the test behind one of theirs. */
function scenario(name: string, body: () => Promise<void>): void {
  test(name, async () => {
    try {
      await body();
    } finally {
      fleet.timer(true);
      fleet.gate.open();
      await fleet.killWorkers();
    }
    const processIds = new Set([...before.processIds, ...(await fleet.brokerProcesses())]);
    await assertNothingLeft({ ...before, processIds });
    assert.equal(await fleet.leftFiles(), []);
  });
}

scenario('SIGTERM hands the build to another worker at once, and it costs no attempt', async () => {
  fleet.timer(false);
  const first = await fleet.startWorker('first', { IMAGEBUILDER_MAXIMUM_ATTEMPTS: '1' });
  fleet.gate.close();
  const { buildId } = await fleet.submit(fleet.request({ package_list: ['slow'] }));
  await fleet.gate.reached();
  await fleet.startWorker('second', { IMAGEBUILDER_MAXIMUM_ATTEMPTS: '1' });
  fleet.gate.close();
  const told = Date.now();
  first.child.kill('SIGTERM');
  assert.is(await first.exited, 0);
  const stoppedMs = Date.now() - told;
  assert.ok(stoppedMs < 10_000, `it took ${stoppedMs} ms`);
  assert.not.match(first.lines.join('\n'), /"level":"error"/);
  // No timer here: the worker that stopped has woken the other.
  const taken = await fleet.when(buildId, ({ owner }) => owner?.startsWith('second') === true);
  assert.is(taken.attempt, 2);
  await fleet.gate.reached();
  assert.is((await fleet.leftFiles()).length, 1, 'only the work directory of the other worker is there');
  fleet.gate.open();
  const { event } = await fleet.ended(buildId);
  assert.is(event.state, 'completed', event.error?.message);
  assertInOrder(await fleet.told(buildId));
  fleet.timer(true);
});

scenario(
  'SIGTERM while RabbitMQ is away ends the worker within seconds too, and its build is taken over later',
  async () => {
    await fleet.startWorker('first');
    await fleet.startWorker('second');
    fleet.gate.close();
    const { buildId } = await fleet.submit(fleet.request({ package_list: ['slow'] }));
    await fleet.gate.reached();
    const { owner } = await fleet.when(buildId, (build) => build.owner !== null);
    await fleet.rabbitMq.stop();
    const stopping = fleet.workerNamed(owner ?? '');
    stopping.child.kill('SIGTERM');
    const told = Date.now();
    assert.is(await stopping.exited, 0);
    assert.ok(Date.now() - told < 30_000);
    await fleet.rabbitMq.start();
    fleet.gate.open();
    const { event } = await fleet.ended(buildId);
    assert.is(event.state, 'completed', event.error?.message);
    assertInOrder(await fleet.told(buildId));
  },
);

scenario('one submission, woken twenty times on each of two workers: one build', async () => {
  const workers = [await fleet.startWorker('first'), await fleet.startWorker('second')];
  const images = (await readdir(fleet.storeDirectory)).length;
  const { buildId } = await fleet.submit(fleet.request());
  const answers = await Promise.all(
    workers.flatMap(({ address }) =>
      Array.from({ length: 20 }, () => call(address, '/', { method: 'POST', body: '' })),
    ),
  );
  const built = answers
    .filter(({ status }) => status === 200)
    .flatMap(({ body }) => (JSON.parse(body.toString()) as { builds: unknown[] }).builds);
  assert.ok(answers.every(({ status }) => status === 200 || status === 429));
  assert.ok(built.length <= 1);
  const { event } = await fleet.ended(buildId);
  assert.equal([event.state, event.attempt], ['completed', 1]);
  assertInOrder(await fleet.told(buildId));
  assert.is((await readdir(fleet.storeDirectory)).length, images + 1);
});

scenario('the same request fifty times at once: one build, one image', async () => {
  await fleet.startWorker('first');
  await fleet.startWorker('second');
  const images = (await readdir(fleet.storeDirectory)).length;
  const request = fleet.request();
  const answers = await Promise.all(Array.from({ length: 50 }, () => fleet.submit(request)));
  assert.equal([...new Set(answers.map(({ status }) => status))].sort(), [200, 202]);
  const ids = new Set(answers.map(({ buildId }) => buildId));
  assert.is(ids.size, 1);
  const [buildId = ''] = ids;
  assert.equal([(await fleet.ended(buildId)).event.state], ['completed']);
  // The jobs that lost are dropped, also when their leases would be over.
  await sleep(1.5 * leaseSeconds * 1000);
  const builds = fleet.broker.projection.builds(new Date()).filter(({ ticketId }) => ticketId === request.ticket_id);
  assert.is(builds.length, 1);
  assert.is((await readdir(fleet.storeDirectory)).length, images + 1);
  const ends = (await fleet.mailbox.read()).filter(
    ({ ticket_id, state }) => ticket_id === request.ticket_id && isTerminal(state),
  );
  assert.is(ends.length, 1);
});

scenario('a lease that comes back again and again while its build lives starts no second one', async () => {
  await fleet.startWorker('first');
  await fleet.startWorker('second');
  fleet.gate.close();
  const { buildId } = await fleet.submit(fleet.request({ package_list: ['slow'] }));
  await fleet.gate.reached();
  await sleep(3 * leaseSeconds * 1000);
  fleet.gate.open();
  const { event } = await fleet.ended(buildId);
  assert.equal([event.state, event.attempt], ['completed', 1]);
  assertInOrder(await fleet.told(buildId));
});

scenario(
  'a worker that stops dead for longer than a lease and comes back does not finish what another has taken',
  async () => {
    await fleet.startWorker('first');
    await fleet.startWorker('second');
    fleet.gate.close();
    const { buildId } = await fleet.submit(fleet.request({ package_list: ['slow'] }));
    await fleet.gate.reached();
    const { owner } = await fleet.when(buildId, (build) => build.owner !== null);
    const frozen = fleet.workerNamed(owner ?? '');
    frozen.child.kill('SIGSTOP');
    await fleet.when(buildId, ({ attempt }) => attempt === 2);
    frozen.child.kill('SIGCONT');
    await sleep(1_000);
    fleet.gate.open();
    const { event } = await fleet.ended(buildId);
    assert.equal([event.state, event.attempt, event.worker === owner], ['completed', 2, false], event.error?.message);
    assertInOrder(await fleet.told(buildId));
  },
);

test.run();
