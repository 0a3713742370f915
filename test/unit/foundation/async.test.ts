import { getEventListeners } from 'node:events';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { onAbort, orAborted, pause, sleep, together, whenAborted, within } from '#lib/async.ts';
import { waitFor } from '#lib/wait-for.js';

const signal = new AbortController().signal;

test('results of parallel work come back in order', async () => {
  const values = await together<[string, number]>(signal, () => [sleep(5).then(() => 'first'), Promise.resolve(2)]);
  assert.equal(values, ['first', 2]);
});

test('a failure aborts the others, and comes when they have ended', async () => {
  const failure = new Error('no');
  let ended = false;
  const other = async (both: AbortSignal) => {
    await pause(60_000, both);
    assert.is(both.reason, failure);
    await sleep(5);
    ended = true;
  };
  const thrown = await together<[unknown, unknown]>(signal, (both) => [other(both), Promise.reject(failure)]).catch(
    (error: unknown) => error,
  );
  assert.is(thrown, failure);
  assert.ok(ended);
});

test('an abort from outside reaches all of them', async () => {
  const controller = new AbortController();
  const reason = new Error('stop');
  const until = async (both: AbortSignal) => {
    await pause(60_000, both);
    throw both.reason;
  };
  const running = together<[unknown, unknown]>(controller.signal, (both) => [until(both), until(both)]);
  controller.abort(reason);
  assert.is(await running.catch((error: unknown) => error), reason);
});

const never = new Promise<never>(() => {});
const reason = new Error('stop');
const thrownBy = (promise: Promise<unknown>) => promise.catch((error: unknown) => error);

test('a listener is called once, also for a signal that has aborted already, and not after it is disposed of', () => {
  let calls = 0;
  const controller = new AbortController();
  onAbort(controller.signal, () => {
    calls += 1;
  });
  const gone = onAbort(controller.signal, () => assert.unreachable());
  gone[Symbol.dispose]();
  controller.abort();
  assert.is(calls, 1);
  onAbort(controller.signal, () => {
    calls += 1;
  });
  assert.is(calls, 2);
});

test('a pause ends when its signal aborts, and a sleep throws the reason then', async () => {
  await pause(0);
  await sleep(0, signal);
  const controller = new AbortController();
  const paused = pause(60_000, controller.signal);
  const slept = thrownBy(sleep(60_000, controller.signal));
  controller.abort(reason);
  await paused;
  assert.is(await slept, reason);
  await whenAborted(controller.signal);
  await pause(60_000, controller.signal);
  assert.is(await thrownBy(sleep(60_000, controller.signal)), reason);
});

test('work is waited for until the first of several signals aborts, and no listener is left', async () => {
  const controller = new AbortController();
  assert.is(await orAborted(Promise.resolve('done'), signal, controller.signal), 'done');
  assert.is(await thrownBy(orAborted(Promise.reject(reason), controller.signal)), reason);
  assert.equal(getEventListeners(controller.signal, 'abort'), []);
  const cut = thrownBy(orAborted(never, signal, controller.signal));
  controller.abort(reason);
  assert.is(await cut, reason);
  // A later or an earlier failure is no unhandled rejection.
  assert.is(await thrownBy(orAborted(Promise.reject(new Error('late')), controller.signal)), reason);
});

test('work that takes longer than its limit fails with the message', async () => {
  assert.is(await within(Promise.resolve(1), 60_000), 1);
  assert.is(await thrownBy(within(Promise.reject(reason), 60_000)), reason);
  assert.match(String(await thrownBy(within(never, -5))), 'no answer in time');
  assert.match(String(await thrownBy(within(never, 5, 'too slow'))), 'too slow');
});

test('a condition is asked for until it holds or the limit is over', async () => {
  let asked = 0;
  assert.ok(await waitFor(async () => ++asked === 3, 60_000, 1));
  assert.is(asked, 3);
  assert.not.ok(await waitFor(() => false, 5, 1));
});

test.run();
