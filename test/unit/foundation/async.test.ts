import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { together } from '#lib/async.ts';

const signal = new AbortController().signal;

test('what is done at the same time comes back in order', async () => {
  const values = await together<[string, number]>(signal, () => [sleep(5).then(() => 'first'), Promise.resolve(2)]);
  assert.equal(values, ['first', 2]);
});

test('a failure aborts the others, and comes when they have ended', async () => {
  const failure = new Error('no');
  let ended = false;
  const other = async (both: AbortSignal) => {
    await sleep(60_000, undefined, { signal: both }).catch(() => {});
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
    await sleep(60_000, undefined, { signal: both }).catch(() => {});
    throw both.reason;
  };
  const running = together<[unknown, unknown]>(controller.signal, (both) => [until(both), until(both)]);
  controller.abort(reason);
  assert.is(await running.catch((error: unknown) => error), reason);
});

test.run();
