import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type BuildState, isTerminal } from '#lib/api/event.ts';
import type { BuildRow, BuildView } from '#lib/queue/build.ts';
import { type BuildIndex, type BuildQuery, createBuildIndex } from '#lib/queue/build-index.ts';
import { createWaitingLine } from '#lib/queue/waiting-line.ts';
import { holds } from '../holds.ts';

const states: readonly BuildState[] = ['queued', 'running', 'completed', 'failed', 'cancelled'];
const timeOf = (second: number) => new Date(Date.UTC(2026, 0, 1) + second * 1_000).toISOString();
const idOf = (number: number) => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`;

type Row = { -readonly [Key in keyof BuildRow]: BuildRow[Key] };

/** The same by a look at all builds. */
function byHand(rows: readonly Row[], { caller, state, ticketId, series }: BuildQuery): string[] {
  return rows
    .filter(
      (row) =>
        (caller === null || row.caller === caller) &&
        (state === undefined || row.state === state) &&
        (ticketId === undefined || String(row.ticketId) === ticketId) &&
        (series === undefined || row.series === series),
    )
    .sort((one, other) => (one.queuedAt + one.buildId < other.queuedAt + other.buildId ? 1 : -1))
    .map(({ buildId }) => buildId);
}

const few = fc.integer({ min: 0, max: 3 });
const anyStep = fc.record({
  kind: fc.constantFrom('add', 'add', 'change', 'change', 'replace', 'remove', 'expire'),
  number: fc.integer({ min: 0, max: 30 }),
  queued: few,
  updated: fc.integer({ min: 0, max: 20 }),
  state: fc.constantFrom(...states),
  caller: few,
  ticket: few,
  series: few,
});

interface Step {
  readonly kind: string;
  readonly number: number;
  readonly queued: number;
  readonly updated: number;
  readonly state: BuildState;
  readonly caller: number;
  readonly ticket: number;
  readonly series: number;
}

/** Does the same to the index and to the rows. */
function apply(index: BuildIndex, rows: Map<string, Row>, step: Step): void {
  const buildId = idOf(step.number);
  const known = rows.get(buildId);
  if (step.kind === 'expire') {
    const oldest = timeOf(step.updated / 2);
    index.expire(oldest);
    for (const row of [...rows.values()]) if (row.updatedAt < oldest) rows.delete(row.buildId);
  } else if (known === undefined) {
    const row: Row = {
      ...{ buildId, ticketId: step.ticket === 0 ? '1' : step.ticket, caller: `c${step.caller}` },
      ...{ series: step.series === 0 ? null : `s${step.series}`, state: step.state },
      ...{ queuedAt: timeOf(step.queued), updatedAt: timeOf(step.updated) },
    };
    rows.set(buildId, row);
    if (step.kind === 'change') index.change(row, () => {});
    else index.add(row);
  } else if (step.kind === 'remove') {
    for (let times = 0; times < 2; times += 1) index.remove(known);
    rows.delete(buildId);
  } else if (step.kind === 'change') {
    index.change(known, () => Object.assign(known, { state: step.state, updatedAt: timeOf(step.updated) }));
  } else {
    const other = { ...known };
    rows.set(buildId, other);
    index.replace(other);
  }
}

const idsOf = (found: Iterable<BuildRow>) => [...found].map(({ buildId }) => buildId).join(' ');

function check(index: BuildIndex, rows: ReadonlyMap<string, Row>, caller: string | null): void {
  const all = [...rows.values()];
  const place = { queuedAt: timeOf(1), buildId: idOf(15) };
  const before = all.filter((row) => row.queuedAt + row.buildId < place.queuedAt + place.buildId);
  for (const query of [
    { caller },
    { caller, state: 'queued' },
    { caller, state: 'failed', series: 's1' },
    { caller, ticketId: '1' },
    { caller, ticketId: '2', series: 's1' },
  ] as const) {
    assert.is(idsOf(index.newestFirst(query)), byHand(all, query).join(' '));
    assert.is(idsOf(index.newestFirst(query, place)), byHand(before, query).join(' '));
    for (const row of index.newestFirst(query)) assert.is(rows.get(row.buildId), row);
  }
  const own = all.filter((row) => caller === null || row.caller === caller);
  for (const state of states) assert.is(index.counts(caller)[state], own.filter((row) => row.state === state).length);
  const ended = own.filter(({ state }) => isTerminal(state));
  ended.sort((one, other) => (one.updatedAt + one.buildId < other.updatedAt + other.buildId ? 1 : -1));
  assert.is(idsOf(index.lastEnded(caller)), idsOf(ended));
}

test('the index finds what a look at all builds finds, whatever happens to them', () => {
  holds(
    fc.property(fc.array(anyStep, { maxLength: 80 }), (steps) => {
      const index = createBuildIndex();
      const rows = new Map<string, Row>();
      for (const step of steps) apply(index, rows, step);
      for (const caller of [null, 'c0', 'c1']) check(index, rows, caller);
    }),
    { numRuns: 200 },
  );
});

/** Reads of times of builds while an index of so many does the same. */
function readsWith(builds: number): Record<string, number> {
  let reads = 0;
  const index = createBuildIndex();
  const rowOf = (number: number, state: BuildState): BuildRow => {
    const time = timeOf(number);
    return {
      ...{ buildId: idOf(number), ticketId: number, caller: `c${number % 3}`, series: 'noble', state },
      get queuedAt() {
        reads += 1;
        return time;
      },
      get updatedAt() {
        reads += 1;
        return time;
      },
    };
  };
  for (let number = 0; number < builds; number += 1) index.add(rowOf(number, number % 2 === 0 ? 'queued' : 'failed'));
  const count = (action: () => unknown) => {
    const before = reads;
    action();
    return reads - before;
  };
  const one = rowOf(builds / 2, 'queued');
  return {
    expire: count(() => index.expire(timeOf(0))),
    counts: count(() => index.counts('c1')),
    ticket: count(() => [...index.newestFirst({ caller: null, ticketId: String(builds / 2) })]),
    page: count(() => index.newestFirst({ caller: 'c2' }, one).next()),
    running: count(() => [...index.newestFirst({ caller: null, state: 'running' })]),
    ended: count(() => index.lastEnded('c1').next()),
    replace: count(() => index.replace(one)),
    change: count(() => index.change(one, () => {})),
    remove: count(() => index.remove(one)),
    add: count(() => index.add(one)),
  };
}

test('work with one build grows with the digits of the number of builds, not with that number', () => {
  const [few, many] = [readsWith(512), readsWith(16_384)];
  for (const [name, reads] of Object.entries(many)) {
    // Five more halves in each of at most nine lists, with two reads each.
    assert.ok(reads <= (few[name] ?? 0) + 9 * 2 * 2 * 5, `${name}: ${few[name]} reads, then ${reads}`);
  }
});

test('a place in the line is that of the order in which builds came, whatever leaves the line', () => {
  holds(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 20 })), { maxLength: 80 }), (steps) => {
      const line = createWaitingLine();
      let wanted: string[] = [];
      for (const [isLeaving, number] of steps) {
        const buildId = idOf(number);
        line.remove(buildId);
        wanted = wanted.filter((id) => id !== buildId);
        if (isLeaving) continue;
        line.add({ buildId, updatedAt: timeOf(number) } as BuildView);
        wanted.push(buildId);
      }
      assert.equal([...line.builds.keys()], wanted);
      for (const [index, id] of wanted.entries()) assert.is(line.placeOf(id), index + 1);
      assert.is(line.placeOf(idOf(99)), undefined);
      line.expire(timeOf(10));
      const left = wanted.findIndex((id) => id >= idOf(10));
      assert.equal([...line.builds.keys()], left === -1 ? [] : wanted.slice(left));
    }),
  );
});

test.run();
