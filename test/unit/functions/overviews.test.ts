import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
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
  // It looks again as soon as it has had a hundred times the time that the look before took.
  while (counted() !== 2) await sleep(10);
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

test.run();
