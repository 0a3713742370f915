import { randomUUID } from 'node:crypto';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Caller } from '#lib/callers.ts';
import { createLedger } from '#lib/queue/ledger.ts';
import { createOverviews } from '../../../functions/status/overviews.ts';
import { buildEvent } from '../queue/build-event.ts';

const caller: Caller = { name: 'lander', role: 'operate', limits: {} };

test('an overview is right after every record, and looks at all builds once for many calls', async () => {
  const ledger = createLedger({ forgetAfterSeconds: 86_400, historyBytes: 2 ** 20 });
  let version = 0;
  let looks = 0;
  const overviews = createOverviews({
    ...ledger,
    newestFirst(now, place) {
      looks += 1;
      return ledger.newestFirst(now, place);
    },
    get version() {
      return version;
    },
  });
  const add = () => {
    const event = buildEvent({ build_id: randomUUID(), ticket_id: version, time: new Date().toISOString() });
    ledger.apply({
      kind: 'event',
      id: event.build_id,
      event,
      submission: { caller: 'a', request_sha256: '1'.repeat(64) },
    });
    version += 1;
  };
  const counted = () => overviews.of(caller, () => true).counts.queued;

  add();
  for (let call = 0; call < 100; call += 1) assert.is(counted(), 1);
  assert.is(looks, 1);
  add();
  assert.is(counted(), 2);
  const [first] = overviews.of(caller, () => true).queued;
  assert.ok(first);
  const known = looks;
  let later = first;
  while (later.elapsed_seconds === first.elapsed_seconds) {
    await sleep(50);
    const [shown] = overviews.of(caller, () => true).queued;
    assert.is(shown?.build_id, first.build_id);
    if (shown !== undefined) later = shown;
  }
  assert.is(looks, known, 'its times go on without a look at all builds');
});

test('an overview of thousands of builds comes to know further ones, and is never half a look', async () => {
  const ledger = createLedger({ forgetAfterSeconds: 86_400, historyBytes: 2 ** 20 });
  let version = 0;
  const overviews = createOverviews({
    ...ledger,
    get version() {
      return version;
    },
  });
  const add = () => {
    version += 1;
    const event = buildEvent({ build_id: randomUUID(), ticket_id: version, time: new Date().toISOString() });
    const submission = { caller: 'a', request_sha256: '1'.repeat(64) };
    ledger.apply({ kind: 'event', id: event.build_id, event, submission });
  };
  for (let index = 0; index < 2_100; index += 1) add();
  const seen = new Set<number>();
  const counted = () => {
    const { queued } = overviews.of(caller, () => true).counts;
    seen.add(queued);
    return queued;
  };
  assert.is(counted(), 2_100);
  for (let index = 0; index < 5; index += 1) add();
  while (counted() !== 2_105) await setImmediate();
  assert.equal([...seen], [2_100, 2_105]);
});

test('a look at thousands of builds that fails is the error of the next call, and later calls look again', async () => {
  const ledger = createLedger({ forgetAfterSeconds: 86_400, historyBytes: 2 ** 20 });
  let version = 0;
  let failing = false;
  const overviews = createOverviews({
    ...ledger,
    newestFirst(now, place) {
      if (failing) throw new Error('a broken record');
      return ledger.newestFirst(now, place);
    },
    get version() {
      return version;
    },
  });
  const add = () => {
    version += 1;
    const event = buildEvent({ build_id: randomUUID(), ticket_id: version, time: new Date().toISOString() });
    const submission = { caller: 'a', request_sha256: '1'.repeat(64) };
    ledger.apply({ kind: 'event', id: event.build_id, event, submission });
  };
  for (let index = 0; index < 600; index += 1) add();
  const counted = () => overviews.of(caller, () => true).counts.queued;
  assert.is(counted(), 600);
  add();
  failing = true;
  let failure: unknown;
  while (failure === undefined) {
    await setImmediate();
    try {
      assert.is(counted(), 600);
    } catch (error) {
      failure = error;
    }
  }
  assert.match(String(failure), 'a broken record');
  failing = false;
  while (counted() !== 601) await setImmediate();
});

test.run();
