import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type AsyncGateway, startAsyncGateway } from '../../lab/servers/async-gateway.ts';
import { call } from '../../lab/servers/function.ts';
import { assertInOrder } from '../system/faults/events.ts';
import { startPod } from '../system/faults/pod.ts';
import { scenarios, submitHeld } from '../system/faults/scenarios.ts';
import { smallImage } from '../system/faults/small-image.ts';

/** Workers as pods of OpenFaaS CE, whose queue worker makes one asynchronous call at a time; no timer wakes them. */

let gateway: AsyncGateway;

const scenario = scenarios(async () => {
  // Nothing goes on here because the gateway gives up on a call.
  gateway = await startAsyncGateway({ upstreamTimeoutMs: 600_000, ackWaitMs: 600_000 });
  return { base: await smallImage(), settings: { IMAGEBUILDER_GATEWAY_URL: gateway.url } };
});
test.after(async () => {
  await gateway[Symbol.asyncDispose]();
});

const onePlace = { max_inflight: '1' };

scenario('a build holds up neither the next worker nor other asynchronous calls', async (fleet) => {
  await using first = await startPod(fleet, { name: 'first', env: onePlace });
  await using second = await startPod(fleet, { name: 'second', env: onePlace });
  gateway.replicas.set('build-worker', [first.address]);
  const buildId = await submitHeld(fleet);
  gateway.replicas.set('build-worker', [second.address]);
  const { buildId: next } = await fleet.submit(fleet.request({ package_list: ['slow'] }));
  const running = await fleet.when(next, ({ owner }) => owner !== null);
  assert.match(running.owner ?? '', /^second/);
  await fetch(`${gateway.url}/async-function/somebody-elses`, { method: 'POST' });
  while (!gateway.calls.some(({ name }) => name === 'somebody-elses')) await sleep(10);
  // The early answer does not let a worker take more than it may.
  assert.is((await call(first.address, '/', { method: 'POST', body: '' })).status, 429);
  fleet.gate.open();
  for (const id of [buildId, next]) assert.is((await fleet.ended(id)).event.state, 'completed');
});

scenario(
  'a pod that is ended hands its build back, and wakes another worker though its own wake comes back to it',
  async (fleet) => {
    await using first = await startPod(fleet, { name: 'first', env: { ...onePlace, healthcheck_interval: '10s' } });
    await using second = await startPod(fleet, { name: 'second', env: onePlace });
    gateway.replicas.set('build-worker', [first.address]);
    const buildId = await submitHeld(fleet);
    const called = gateway.calls.length;
    first.child.kill('SIGTERM');
    while (!gateway.calls.slice(called).some(({ status }) => status === 503)) await sleep(10);
    gateway.replicas.set('build-worker', [second.address]);
    const taken = await fleet.when(buildId, ({ owner }) => owner?.startsWith('second') === true);
    assert.equal([taken.attempt, taken.handBacks], [2, 1]);
    assert.is(await first.exited, 0);
    fleet.gate.open();
    const { event } = await fleet.ended(buildId);
    assert.equal([event.state, event.attempt], ['completed', 2], event.error?.message);
    assertInOrder(await fleet.notifications(buildId));
  },
);

scenario('a wake that reached a busy worker is not lost while another one is idle', async (fleet) => {
  await using first = await startPod(fleet, { name: 'first', env: onePlace });
  await using second = await startPod(fleet, { name: 'second', env: onePlace });
  gateway.replicas.set('build-worker', [first.address]);
  const buildId = await submitHeld(fleet);
  const called = gateway.calls.length;
  const { buildId: next } = await fleet.submit(fleet.request({ package_list: ['slow'] }));
  // The last wake of a worker before may come in between.
  while (!gateway.calls.slice(called).some(({ status }) => status === 429)) await sleep(10);
  gateway.replicas.set('build-worker', [second.address]);
  const running = await fleet.when(next, ({ owner }) => owner !== null);
  assert.match(running.owner ?? '', /^second/);
  fleet.gate.open();
  for (const id of [buildId, next]) assert.is((await fleet.ended(id)).event.state, 'completed');
});

test.run();
