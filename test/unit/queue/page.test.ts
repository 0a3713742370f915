import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BuildPage, Cursor, ListQuery } from '#lib/api/build-list.ts';
import { type BuildEvent, type BuildState, isTerminal } from '#lib/api/event.ts';
import { createLedger } from '#lib/queue/ledger.ts';
import { overviewOf } from '#lib/queue/overview.ts';
import { pageOf } from '#lib/queue/page.ts';
import { holds } from '../holds.ts';
import { buildEvent } from './build-event.ts';

const start = Date.parse('2026-01-01T00:00:00Z');
const now = new Date(start + 3_600_000);
const idOf = (index: number) => `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`;

interface Entry {
  readonly state: BuildState;
  readonly series: string;
  readonly caller: string;
}

/** A ledger with these builds, submitted one second after the other. */
function ledgerOf(entries: readonly Entry[], values: Partial<BuildEvent> = {}) {
  const ledger = createLedger({ forgetAfterSeconds: 86_400, historyBytes: 2 ** 24 });
  const add = ({ state, series, caller }: Entry, index: number) => {
    const submission = { caller, series, request_sha256: '1'.repeat(64) };
    const of = { build_id: idOf(index), ticket_id: index, time: new Date(start + index * 1_000).toISOString() };
    const apply = (more: Partial<BuildEvent>) =>
      ledger.apply({ kind: 'event', id: idOf(index), event: buildEvent({ ...of, ...more }), submission });
    apply({});
    if (state !== 'queued') apply({ ...values, state, worker: 'a', attempt: 1, sequence: 1 });
  };
  entries.forEach(add);
  return { ledger, add };
}

const anyEntry = fc.record({
  state: fc.constantFrom('queued', 'running', 'completed', 'failed', 'cancelled'),
  series: fc.constantFrom('noble', 'jammy'),
  caller: fc.constantFrom('lander', 'other'),
} satisfies Record<string, fc.Arbitrary<unknown>>) as fc.Arbitrary<Entry>;

test('pages hold every build that is asked for once, the newest first, also while more come', () => {
  holds(
    fc.property(
      fc.array(anyEntry, { maxLength: 150 }),
      fc.integer({ min: 1, max: 60 }),
      fc.record(
        { state: fc.constantFrom('queued', 'failed'), series: fc.constantFrom('noble', 'jammy') },
        { requiredKeys: [] },
      ),
      (entries: readonly Entry[], limit: number, filter: { state?: string; series?: string }) => {
        const { ledger, add } = ledgerOf(entries);
        const found: string[] = [];
        let cursor: string | null = null;
        do {
          const query = { limit: String(limit), ...filter, ...(cursor === null ? {} : { cursor }) };
          const page = pageOf(ledger, now, ListQuery.parse(query), 'lander');
          BuildPage.parse(page);
          assert.ok(page.builds.length <= limit);
          found.push(...page.builds.map(({ build_id }) => build_id));
          cursor = page.next_cursor;
          add({ state: 'failed', series: 'noble', caller: 'lander' }, entries.length + found.length + 1_000);
        } while (cursor !== null);
        const wanted = entries.flatMap(({ state, series, caller }, index) =>
          caller === 'lander' && (filter.state ?? state) === state && (filter.series ?? series) === series
            ? [idOf(index)]
            : [],
        );
        assert.equal(found, wanted.reverse());
      },
    ),
    { numRuns: 100 },
  );
});

test('a page of builds with many packages holds fewer of them than its limit', () => {
  const packages = Array.from({ length: 900 }, (_, index) => ({ name: `package-${index}`, version: '1.2.3-4ubuntu5' }));
  const checksums = { sha256: 'a'.repeat(64), sha512: 'b'.repeat(128) };
  const place = { id: 'x', location: 'file:///x', store: 'file', name: 'x' } as const;
  const image = { ...place, size: 1, format: 'qcow2', packages, checksums } as const;
  const { ledger } = ledgerOf(Array<Entry>(100).fill({ state: 'completed', series: 'noble', caller: 'lander' }), {
    image,
  });
  const page = pageOf(ledger, now, ListQuery.parse({ limit: '200' }), null);
  assert.ok(page.builds.length > 1 && page.builds.length < 100);
  assert.ok(JSON.stringify(page).length < 2 ** 20 + 1_000);
  const rest = pageOf(ledger, now, ListQuery.parse({ limit: '200', cursor: page.next_cursor ?? '' }), null);
  assert.is(rest.builds[0]?.build_id, idOf(99 - page.builds.length));
  const overview = overviewOf(ledger, now, { caller: null });
  assert.ok(overview.finished.length > 0 && JSON.stringify(overview).length < 2 ** 16 + 2_000);
});

test('what is no cursor is a fault of the query', () => {
  for (const cursor of ['', 'x', '####', Cursor.encode(['2026-01-01T00:00:00.000Z', idOf(1)]).slice(3)]) {
    assert.is(ListQuery.safeParse({ cursor }).success, false, cursor);
  }
  for (const limit of ['0', '201', '-1', '1.5', '1e2', '']) {
    assert.is(ListQuery.safeParse({ limit }).success, false, limit);
  }
});

test('an overview shows the workers that live and counts the others', () => {
  const { ledger } = ledgerOf([]);
  const show = (worker: string, minutesAgo: number, stopped?: true) => {
    const time = new Date(now.getTime() - minutesAgo * 60_000).toISOString();
    const record = { kind: 'worker', id: idOf(1), worker, time, unable: null } as const;
    ledger.apply(stopped ? { ...record, stopped } : record);
  };
  const shown = () => {
    const { workers, workers_gone } = overviewOf(ledger, now, { caller: null });
    return [workers.map(({ name }) => name), workers_gone];
  };
  show('died', 50);
  show('ended', 2, true);
  show('idle', 4);
  show('busy', 0);
  assert.equal(shown(), [['busy', 'idle'], 2]);
  show('ended', 1);
  assert.equal(shown(), [['ended', 'busy', 'idle'], 1], 'it has started again');
});

test('an overview counts all builds and lists the running ones and the newest of the others', () => {
  const states: readonly BuildState[] = ['queued', 'running', 'completed', 'failed', 'cancelled'];
  const entries = Array.from({ length: 5_000 }, (_, index) => ({
    state: states[index % 1_000 < 5 ? index % 5 : index % 2 === 0 ? 0 : 3] ?? 'queued',
    ...{ series: 'noble', caller: index === 4_999 ? 'other' : 'lander' },
  }));
  const { ledger } = ledgerOf(entries);
  const overview = overviewOf(ledger, now, { caller: 'lander' });
  const expected = (state: BuildState) =>
    entries.filter((entry) => entry.state === state && entry.caller === 'lander').length;
  for (const state of states) assert.is(overview.counts[state], expected(state), state);
  assert.is(overview.running.length, 5);
  assert.equal(
    overview.queued.map(({ ticket_id, place_in_queue }) => [ticket_id, place_in_queue]),
    Array.from({ length: 20 }, (_, index) => [4_960 + index * 2, expected('queued') - 19 + index]),
  );
  const newest = entries.flatMap(({ state, caller }, index) => (isTerminal(state) && caller === 'lander' ? index : []));
  assert.equal(
    overview.finished.map(({ ticket_id }) => ticket_id),
    newest.reverse().slice(0, 20),
  );
  assert.ok(JSON.stringify(overview).length < 50_000);
});

test.run();
