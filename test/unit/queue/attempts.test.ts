import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { BuildEvent } from '#lib/api/event.ts';
import { createLedger, type Ledger } from '#lib/queue/ledger.ts';
import { decodeRecord, type StreamRecord } from '#lib/queue/record.ts';
import { recordsOf } from '#lib/queue/restored.ts';
import { buildEvent } from './build-event.ts';

const id = '00000000-0000-4000-8000-000000000001';
const at = (second: number) => new Date(Date.parse('2026-01-01T12:00:00Z') + second * 1000).toISOString();
const create = () => createLedger({ forgetAfterSeconds: 3_600, historyBytes: 2 ** 20 });
const step = (name: 'fetch' | 'install', from: number, to: number | null) => ({
  ...{ step: name, started_at: at(from), ended_at: to === null ? null : at(to) },
});
const error = { code: 'guest.failed', message: 'gone', step: 'install', fault: 'service', retryable: true } as const;

/** A build whose first worker dies, whose second is stopped, whose third loses its guest, and whose fourth completes. */
const life: Partial<BuildEvent>[] = [
  { time: at(0) },
  { time: at(1), sequence: 1, attempt: 1, worker: 'a', state: 'running' },
  {
    time: at(2),
    sequence: 2,
    attempt: 1,
    worker: 'a',
    state: 'running',
    step: 'fetch',
    steps: [step('fetch', 2, null)],
  },
  { time: at(9), sequence: 3, attempt: 2, worker: 'b', state: 'running' },
  { time: at(11), sequence: 4, attempt: 2, worker: 'b', state: 'queued', step: 'fetch', steps: [step('fetch', 9, 11)] },
  { time: at(12), sequence: 5, attempt: 3, worker: 'c', state: 'running' },
  { time: at(14), sequence: 6, attempt: 3, worker: 'c', state: 'queued', error },
  { time: at(15), sequence: 7, attempt: 4, worker: 'd', state: 'running' },
  {
    ...{ time: at(16), sequence: 8, attempt: 4, worker: 'd', state: 'running', step: 'fetch' },
    steps: [step('fetch', 15, 16), step('install', 16, null)],
  },
  {
    ...{ time: at(18), sequence: 9, attempt: 4, worker: 'd', state: 'completed' },
    steps: [step('fetch', 15, 16), step('install', 16, 18)],
  },
];
const apply = (ledger: Ledger, values: Partial<BuildEvent>, beside: Partial<StreamRecord> = {}) =>
  ledger.apply({ kind: 'event', id, event: buildEvent({ build_id: id, ...values }), ...beside } as StreamRecord);
const attemptsOf = (ledger: Ledger) =>
  ledger.get(id)?.attempts.map((one) => [one.attempt, one.worker, one.outcome, one.error_code]);

test('each attempt has its worker, times and end, and the build the steps of the newest', () => {
  const ledger = create();
  const seen = life.map((values) => {
    assert.is(apply(ledger, values), 'applied');
    return ledger.get(id)?.attempts.at(-1)?.outcome;
  });
  const during = [undefined, 'running', 'running', 'running', 'handed_back', 'running', 'lost', 'running', 'running'];
  assert.equal(seen, [...during, 'completed']);
  assert.equal(ledger.get(id)?.attempts, [
    {
      ...{ attempt: 1, worker: 'a', started_at: at(1), ended_at: at(2), outcome: 'lost', step: 'fetch' },
      error_code: null,
    },
    {
      ...{ attempt: 2, worker: 'b', started_at: at(9), ended_at: at(11), outcome: 'handed_back', step: 'fetch' },
      error_code: null,
    },
    {
      ...{ attempt: 3, worker: 'c', started_at: at(12), ended_at: at(14), outcome: 'lost', step: 'install' },
      error_code: 'guest.failed',
    },
    {
      ...{ attempt: 4, worker: 'd', started_at: at(15), ended_at: at(18), outcome: 'completed', step: 'install' },
      error_code: null,
    },
  ]);
  assert.equal(ledger.get(id)?.steps, [step('fetch', 15, 16), step('install', 16, 18)]);
});

test('events of a worker that has lost the build change no attempt', () => {
  const ledger = create();
  for (const values of life.slice(0, 4)) apply(ledger, values);
  const before = ledger.get(id)?.attempts;
  apply(ledger, { time: at(10), sequence: 20, attempt: 1, worker: 'a', state: 'failed', error });
  assert.equal(ledger.get(id)?.attempts, before);
});

test('a build with many attempts shows the newest ten', () => {
  const ledger = create();
  apply(ledger, life[0] ?? {});
  for (let attempt = 1; attempt <= 30; attempt += 1) {
    apply(ledger, { time: at(attempt), sequence: attempt, attempt, worker: `w${attempt}`, state: 'running' });
  }
  const attempts = ledger.get(id)?.attempts ?? [];
  assert.equal([attempts.length, attempts[0]?.attempt, attempts.at(-1)?.attempt], [10, 21, 30]);
});

test('a ledger that finds only the last record of a build knows its attempts, steps and request', () => {
  const whole = create();
  for (const values of life) apply(whole, values);
  for (const count of [5, 9, 10]) {
    const known = create();
    for (const values of life.slice(0, count)) apply(known, values);
    const build = known.get(id);
    assert.ok(build);
    const other = create();
    for (const record of recordsOf(build)) other.apply(record);
    assert.equal(
      attemptsOf(other)?.map(([attempt]) => attempt),
      build.attempts.map(({ attempt }) => attempt),
      `${count} events`,
    );
    assert.is(other.get(id)?.attempt, build.attempt);
  }
});

test('a background that this version cannot read is left out, and its event counts', () => {
  const record = { kind: 'event', id, event: buildEvent({}), background: { request: { odd: 1 }, attempts: 'none' } };
  const read = decodeRecord(Buffer.from(JSON.stringify(record)));
  assert.type(read, 'object');
  assert.equal((read as { background?: unknown }).background, { request: undefined, attempts: undefined });
});

test.run();
