import { readdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BuildEvent, isTerminal } from '#lib/api/event.ts';
import { type Fleet, leaseSeconds } from '../../lab/fleet/fleet.ts';
import { call } from '../../lab/servers/function.ts';
import { listen } from '../../lab/servers/listen.ts';
import { whenLong } from '../runner/long.ts';
import { assertInOrder } from './faults/events.ts';
import { startPod } from './faults/pod.ts';
import { scenarios, startNext, submitHeld } from './faults/scenarios.ts';
import { smallImage } from './faults/small-image.ts';
import { isTrial } from './service.ts';

/** Workers are stopped, and every request is sent more than once: each build is built once. */

/** The entries of the store. */
async function storedBy({ storeDirectory }: Fleet): Promise<string[]> {
  return (await readdir(storeDirectory)).filter((name) => !isTrial(name));
}

const scenario = scenarios(async () => ({ base: await smallImage() }));
const long = whenLong(scenario);

scenario('SIGTERM hands the build to another worker at once, and it costs no attempt', async (fleet) => {
  fleet.timer(false);
  const first = await fleet.startWorker('first', { IMAGEBUILDER_MAXIMUM_ATTEMPTS: '1' });
  const buildId = await submitHeld(fleet);
  const ofFirst = await fleet.leftFiles();
  await fleet.startWorker('second', { IMAGEBUILDER_MAXIMUM_ATTEMPTS: '1' });
  fleet.gate.close();
  const told = Date.now();
  first.child.kill('SIGTERM');
  assert.is(await first.exited, 0);
  const stoppedMs = Date.now() - told;
  assert.ok(stoppedMs < 30_000, `Kubernetes would have killed it: ${stoppedMs} ms`);
  assert.not.match(first.lines.join('\n'), /"level":"error"/);
  // No timer here: the worker that stopped has woken the other.
  const taken = await fleet.when(buildId, ({ owner }) => owner?.startsWith('second') === true);
  assert.is(taken.attempt, 2);
  await fleet.gate.reached();
  const left = await fleet.leftFiles();
  assert.equal(
    [left.length, left.filter((name) => ofFirst.includes(name))],
    [2, []],
    'only the folders of the other worker are there, for its build and the log of that',
  );
  fleet.gate.open();
  const { event } = await fleet.ended(buildId);
  assert.is(event.state, 'completed', event.error?.message);
  assertInOrder(await fleet.notifications(buildId));
  fleet.timer(true);
});

long(
  'SIGTERM while RabbitMQ is away ends the worker within seconds too, and another one claims its build later',
  async (fleet) => {
    await fleet.startWorker('first');
    await fleet.startWorker('second');
    const buildId = await submitHeld(fleet);
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
    assertInOrder(await fleet.notifications(buildId));
  },
);

scenario('one submission, woken twenty times on each of two workers: one build', async (fleet) => {
  const workers = [await fleet.startWorker('first'), await fleet.startWorker('second')];
  const before = await storedBy(fleet);
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
  assertInOrder(await fleet.notifications(buildId));
  const made = (await storedBy(fleet)).filter((name) => !before.includes(name));
  assert.equal(made, [buildId]);
});

scenario('the same request fifty times at once: one build, one image', async (fleet) => {
  await fleet.startWorker('first');
  await fleet.startWorker('second');
  const images = (await storedBy(fleet)).length;
  const request = fleet.request();
  const answers = await Promise.all(Array.from({ length: 50 }, () => fleet.submit(request)));
  assert.equal([...new Set(answers.map(({ status }) => status))].sort(), [200, 202]);
  const ids = new Set(answers.map(({ buildId }) => buildId));
  assert.is(ids.size, 1);
  const [buildId = ''] = ids;
  assert.equal([(await fleet.ended(buildId)).event.state], ['completed']);
  // The jobs that lost are dropped, also when their leases would be over.
  await sleep(1.5 * leaseSeconds * 1000);
  const builds = fleet.broker.ledger.builds(new Date()).filter(({ ticketId }) => ticketId === request.ticket_id);
  assert.is(builds.length, 1);
  assert.is((await storedBy(fleet)).length, images + 1);
  const ends = (await fleet.mailbox.read()).filter(
    ({ ticket_id, state }) => ticket_id === request.ticket_id && isTerminal(state),
  );
  assert.is(ends.length, 1);
});

long('a lease that comes back again and again while its build lives starts no second one', async (fleet) => {
  await fleet.startWorker('first');
  await fleet.startWorker('second');
  const buildId = await submitHeld(fleet);
  await sleep(3 * leaseSeconds * 1000);
  fleet.gate.open();
  const { event } = await fleet.ended(buildId);
  assert.equal([event.state, event.attempt], ['completed', 1]);
  assertInOrder(await fleet.notifications(buildId));
});

scenario(
  'a worker that stops dead for longer than a lease and comes back does not finish what another has taken',
  async (fleet) => {
    await fleet.startWorker('first');
    await fleet.startWorker('second');
    const buildId = await submitHeld(fleet);
    const { owner } = await fleet.when(buildId, (build) => build.owner !== null);
    const frozen = fleet.workerNamed(owner ?? '');
    frozen.child.kill('SIGSTOP');
    await fleet.when(buildId, ({ attempt }) => attempt === 2);
    frozen.child.kill('SIGCONT');
    await sleep(1_000);
    fleet.gate.open();
    const { event } = await fleet.ended(buildId);
    assert.equal([event.state, event.attempt, event.worker === owner], ['completed', 2, false], event.error?.message);
    assertInOrder(await fleet.notifications(buildId));
  },
);

for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
  (signal === 'SIGKILL' ? scenario : long)(
    `a callback that a worker could not deliver before ${signal} is delivered by another`,
    async (fleet) => {
      const tried = Promise.withResolvers<void>();
      const delivered = Promise.withResolvers<BuildEvent>();
      let away = true;
      let calls = 0;
      const receiver = createServer(async (request, response) => {
        const body = await text(request);
        response.writeHead(away ? 503 : 200).end();
        if (away) return tried.resolve();
        calls += 1;
        delivered.resolve(BuildEvent.parse(JSON.parse(body)));
      });
      await using listening = await listen(receiver);
      const settings = { IMAGEBUILDER_CALLBACK_TIMEOUT: '2' };
      const first = await startNext(fleet, settings);
      const { buildId } = await fleet.submit(fleet.request({ callback_url: `${listening.url}/done` }));
      await tried.promise;
      first.child.kill(signal);
      await first.exited;
      away = false;
      await startNext(fleet, settings);
      const event = await delivered.promise;
      assert.equal([event.build_id, event.state, event.attempt], [buildId, 'completed', 1]);
      // Nor does a lease that is still out bring another one.
      while (fleet.broker.ledger.get(buildId)?.notified.includes('callback') !== true) await sleep(50);
      await sleep(1.5 * leaseSeconds * 1000);
      assert.is(calls, 1);
    },
  );
}

long('behind of-watchdog, a pod that is ended gives its build away and answers the call that was on', async (fleet) => {
  await using pod = await startPod(fleet);
  fleet.timer(false);
  fleet.gate.close();
  const { buildId } = await fleet.submit(fleet.request({ package_list: ['slow'] }));
  const answer = call(pod.address, '/', { method: 'POST', body: '' });
  await fleet.gate.reached();
  await startNext(fleet);
  fleet.gate.close();
  pod.child.kill('SIGTERM');
  const taken = await fleet.when(buildId, ({ attempt }) => attempt === 2);
  assert.is(taken.handBacks, 1);
  const { status, body } = await answer;
  assert.is(status, 200);
  assert.equal(JSON.parse(body.toString()).builds, [{ build_id: buildId, ticket_id: taken.ticketId, state: 'queued' }]);
  assert.is(await pod.exited, 0);
  fleet.gate.open();
  const { event } = await fleet.ended(buildId);
  assert.equal([event.state, event.attempt], ['completed', 2], event.error?.message);
});

test.run();
