import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { BuildState } from '#lib/api/event.ts';
import type { Caller } from '#lib/callers.ts';
import { createLedger } from '#lib/queue/ledger.ts';
import { overviewOf } from '#lib/queue/overview.ts';
import { pageOf } from '#lib/queue/page.ts';
import { createOverviews } from '../../../functions/status/overviews.ts';
import { buildEvent } from '../queue/build-event.ts';

const caller: Caller = { name: 'lander', role: 'operate', limits: {} };

/** A ledger that counts the builds that are read from it. */
function countingLedger() {
  const ledger = createLedger({ forgetAfterSeconds: 86_400, historyBytes: 2 ** 26 });
  const counts = { version: 0, reads: 0 };
  function* counted<Row>(rows: Iterable<Row>): Generator<Row> {
    for (const row of rows) {
      counts.reads += 1;
      yield row;
    }
  }
  const read = {
    ...ledger,
    get(buildId: string) {
      counts.reads += 1;
      return ledger.get(buildId);
    },
    newestFirst: (...asked: Parameters<typeof ledger.newestFirst>) => counted(ledger.newestFirst(...asked)),
    lastEnded: (...asked: Parameters<typeof ledger.lastEnded>) => counted(ledger.lastEnded(...asked)),
    get version() {
      return counts.version;
    },
  };
  const add = (state: BuildState = 'queued', owner = 'a', ticket_id: string | number = counts.version) => {
    const event = buildEvent({ build_id: randomUUID(), ticket_id, time: new Date().toISOString() });
    const submission = { caller: owner, series: 'noble', request_sha256: '1'.repeat(64) };
    const progress_trigger = `p.${counts.version}`;
    const apply = (more: object) =>
      ledger.apply({
        ...{ kind: 'event', id: randomUUID(), submission },
        event: { ...event, progress_trigger, ...more },
      });
    apply({});
    if (state !== 'queued') apply({ state, worker: 'w', attempt: 1, sequence: 1 });
    counts.version += 1;
  };
  return { read, counts, add };
}

test('an overview is right after every record, and is made once for many calls', async () => {
  const { read, counts, add } = countingLedger();
  const overviews = createOverviews(read);
  const counted = () => overviews.of(caller).counts.queued;
  add();
  assert.is(counted(), 1);
  const { reads } = counts;
  for (let call = 0; call < 100; call += 1) assert.is(counted(), 1);
  assert.is(counts.reads, reads);
  add();
  assert.is(counted(), 2);
  const [first] = overviews.of(caller).queued;
  let later = first;
  while (later?.elapsed_seconds === first?.elapsed_seconds) {
    await sleep(50);
    [later] = overviews.of(caller).queued;
    assert.is(later?.build_id, first?.build_id);
  }
});

test('each caller sees its own builds, and callers who see all get the same overview', () => {
  const { read, add } = countingLedger();
  const overviews = createOverviews(read);
  for (const owner of ['lander', 'lander', 'other']) add('failed', owner);
  const seen = (name: string, role: Caller['role']) => overviews.of({ name, role, limits: {} });
  assert.equal(
    [seen('lander', 'submit'), seen('other', 'submit'), seen('new', 'submit')].map(({ counts }) => counts.failed),
    [2, 1, 0],
  );
  assert.is(seen('lander', 'operate').counts.failed, 3);
  assert.is(seen('lander', 'operate'), seen('watcher', 'read'));
});

test('overviews and pages read as many builds, however many there are', () => {
  const readsOf = (builds: number) => {
    const { read, counts, add } = countingLedger();
    add('failed', 'seldom', 'LP-1');
    for (let index = 0; index < builds; index += 1) {
      add(index % 2 === 0 ? 'queued' : 'failed', 'often', `T-${index}`);
      if (index % (builds / 4) === 0) add('running', 'often', `R-${index}`);
    }
    const now = new Date();
    const reads = (action: () => unknown) => {
      const before = counts.reads;
      action();
      return counts.reads - before;
    };
    const limit = 50;
    return {
      all: reads(() => overviewOf(read, now, { caller: null })),
      ofCaller: reads(() => overviewOf(read, now, { caller: 'seldom' })),
      ofTicket: reads(() => overviewOf(read, now, { caller: null, ticketId: 'T-7' })),
      page: reads(() => pageOf(read, now, { limit }, null)),
      pageOfCaller: reads(() => pageOf(read, now, { limit }, 'seldom')),
      pageOfTicket: reads(() => pageOf(read, now, { limit, ticket_id: 'LP-1' }, null)),
      pageOfState: reads(() => pageOf(read, now, { limit, state: 'running' }, null)),
      pageOfSeries: reads(() => pageOf(read, now, { limit, series: 'trusty' }, null)),
    };
  };
  const few = readsOf(200);
  assert.equal(readsOf(6_000), few);
  assert.ok(
    Object.values(few).every((reads) => reads <= 110),
    JSON.stringify(few),
  );
});

test.run();
