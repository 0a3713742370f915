import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type BuildEvent, isTerminal } from '#lib/api/event.ts';
import type { BuildView, Verdict } from '#lib/queue/build.ts';
import { createLedger, type Ledger } from '#lib/queue/ledger.ts';
import type { StreamRecord } from '#lib/queue/record.ts';
import { createRefresh } from '#lib/queue/refresh.ts';
import { holds } from '../holds.ts';
import { buildEvent } from './build-event.ts';

const retentionBytes = 64 * 1024;
const forgetAfterSeconds = 3_600;
const time = '2026-01-01T00:00:00.000Z';
const now = new Date(time);
const idOf = (build: number) => `00000000-0000-4000-8000-${String(build).padStart(12, '0')}`;

function eventOf(build: number, values: Partial<BuildEvent>): StreamRecord {
  return {
    kind: 'event',
    id: idOf(build),
    event: buildEvent({ build_id: idOf(build), ticket_id: build, progress_trigger: 'lander', time, ...values }),
  };
}

const bytesOf = (record: StreamRecord) => Buffer.byteLength(JSON.stringify(record));

/** A stream that loses its oldest records, and a process that has followed it from the beginning. */
function openStream() {
  const kept: { readonly record: StreamRecord; readonly size: number }[] = [];
  let size = 0;
  const ledger = createLedger({ forgetAfterSeconds, historyBytes: 2 ** 20 });
  const refresh = createRefresh({ ledger, retentionBytes, forgetAfterSeconds });

  const append = (record: StreamRecord): Verdict => {
    const added = bytesOf(record) + 250;
    kept.push({ record, size: added });
    size += added;
    while (size > retentionBytes) size -= kept.shift()?.size ?? 0;
    const verdict = ledger.apply(record);
    refresh.note(record, verdict, bytesOf(record));
    return verdict;
  };

  return {
    ledger,
    refresh,
    append,
    /** Appends and then does what is due. Returns how many records that were. */
    write(record: StreamRecord): number {
      append(record);
      let again = 0;
      for (let due = refresh.next(now); due !== null; due = refresh.next(now)) {
        for (const one of due) append(one);
        again += due.length;
      }
      return again;
    },
    /** A function that starts now. */
    start(): Ledger {
      const fresh = createLedger({ forgetAfterSeconds, historyBytes: 2 ** 20 });
      for (const { record } of kept) fresh.apply(record);
      return fresh;
    },
  };
}

/** Fills the whole stream with the events of another build. */
function fill(stream: ReturnType<typeof openStream>, build: number): number {
  stream.write(eventOf(build, {}));
  let again = 0;
  const message = 'x'.repeat(1_000);
  for (let sequence = 1; sequence <= 200; sequence += 1) {
    again += stream.write(eventOf(build, { state: 'running', worker: 'w', attempt: 1, sequence, message }));
  }
  return again;
}

const shown = ({ get }: Ledger, build: number) => {
  const view = get(idOf(build));
  return view && [view.state, view.attempt, view.owner, view.cancelling, view.sequence, view.queuedAt];
};

test('a function that starts later knows every unfinished build, and forgets those that have ended', () => {
  const stream = openStream();
  const running = { state: 'running', worker: 'a' } as const;
  stream.write(eventOf(1, {}));
  stream.write(eventOf(2, {}));
  stream.write({ kind: 'cancel', id: idOf(2), build_id: idOf(2), time });
  stream.write(eventOf(3, {}));
  for (const attempt of [1, 2, 3, 4]) {
    stream.write(eventOf(3, { ...running, attempt, sequence: 2 * attempt }));
    stream.write(
      eventOf(3, { ...running, state: 'queued', attempt, sequence: 2 * attempt + 1, log: ['x'.repeat(99)] }),
    );
  }
  stream.write(eventOf(4, {}));
  stream.write(eventOf(4, { ...running, attempt: 1, sequence: 1 }));
  stream.write(eventOf(5, {}));
  stream.write(eventOf(5, { ...running, attempt: 1, sequence: 1, state: 'completed' }));
  for (const other of [100, 101, 102]) fill(stream, other);

  const fresh = stream.start();
  for (const build of [1, 2, 3, 4]) assert.equal(shown(fresh, build), shown(stream.ledger, build), `build ${build}`);
  assert.is(fresh.get(idOf(5)), undefined);
  // The same request once more is not built twice, and none of the four hand-backs counts as a lost worker.
  const again = eventOf(1, { build_id: idOf(9) });
  assert.equal([stream.ledger.apply(again), fresh.apply(again)], ['superseded', 'superseded']);
  assert.is(fresh.get(idOf(3))?.handBacks, 4);
});

test('an equal submission that lost stays superseded, however long its job waits behind that of the winner', () => {
  const stream = openStream();
  stream.write(eventOf(1, {}));
  stream.write(eventOf(1, { build_id: idOf(2) }));
  for (const other of [100, 101, 102]) fill(stream, other);
  for (const state of ['running', 'completed'] as const) {
    stream.write(eventOf(1, { state, worker: 'a', attempt: 1, sequence: state === 'running' ? 1 : 2 }));
  }
  const fresh = stream.start();
  assert.equal([fresh.isOver(idOf(1)), fresh.isOver(idOf(2))], [true, true]);
  assert.is(fresh.get(idOf(2))?.supersededBy, idOf(1));
});

test('few bytes are appended again, and a lost build is not kept for ever', () => {
  const stream = openStream();
  const error = { code: 'guest.failed', message: 'lost', step: null, fault: 'service', retryable: true } as const;
  const log_tail = Array.from({ length: 40 }, () => 'x'.repeat(100));
  stream.write(eventOf(1, {}));
  stream.write(eventOf(1, { state: 'running', worker: 'a', attempt: 1, sequence: 1 }));
  const back = { state: 'queued', worker: 'a', attempt: 1, sequence: 2, log: log_tail.slice(0, 20) } as const;
  stream.write(eventOf(1, { ...back, error: { ...error, log_tail } }));
  const message = 'x'.repeat(1_000);
  stream.write(eventOf(2, {}));
  for (let sequence = 1; !stream.refresh.isDue(); sequence += 1) {
    stream.append(eventOf(2, { state: 'running', worker: 'w', attempt: 1, sequence, message }));
  }
  const records = stream.refresh.next(now) ?? [];
  assert.is(records.length, 1);
  assert.ok(bytesOf(records[0] as StreamRecord) < 600);

  const later = new Date(now.getTime() + 2 * forgetAfterSeconds * 1000);
  const forgetful = openStream();
  forgetful.append(eventOf(1, {}));
  for (let sequence = 1; !forgetful.refresh.isDue(); sequence += 1) {
    forgetful.append(eventOf(2, { state: 'running', worker: 'w', attempt: 1, sequence, message }));
  }
  assert.is(forgetful.refresh.next(later), null);
  assert.is(forgetful.refresh.isDue(), false);
});

test('more waiting builds than the stream has room for do not fill it with themselves', () => {
  const stream = openStream();
  for (let build = 1; build <= 1_000; build += 1) stream.write(eventOf(build, {}));
  const again = fill(stream, 5_000);
  // 200 events of some 1,500 bytes, of which a quarter may be written again, in records of some 600.
  assert.ok(again > 20 && again < 200, `${again} records`);
});

const anyStep = fc.record({
  build: fc.integer({ min: 1, max: 6 }),
  what: fc.constantFrom('submit', 'submit', 'claim', 'claim', 'hand back', 'end', 'cancel', 'twin', 'fill', 'fill'),
});

/** The event of a worker at a build, or null where no worker has the build. */
const changesBy = {
  claim: ({ attempt }: BuildView) => ({ state: 'running', worker: `w${attempt}`, attempt: attempt + 1 }) as const,
  end: ({ owner, attempt }: BuildView) =>
    owner === null ? null : ({ state: 'failed', worker: owner, attempt } as const),
  'hand back': ({ owner, attempt }: BuildView) =>
    owner === null ? null : ({ state: 'queued', worker: owner, attempt } as const),
};

test('whenever a function starts, it agrees with those that were there before on every build that has not ended', () => {
  holds(
    fc.property(fc.array(anyStep, { maxLength: 80 }), (steps) => {
      const stream = openStream();
      let next = 1_000;
      for (const { build, what } of steps) {
        const view = stream.ledger.get(idOf(build));
        if (what === 'fill') fill(stream, next++);
        else if (view === undefined && what === 'submit') stream.write(eventOf(build, {}));
        else if (view === undefined || isTerminal(view.state)) continue;
        else if (what === 'cancel') stream.write({ kind: 'cancel', id: idOf(build), build_id: idOf(build), time });
        else if (what === 'twin') stream.write(eventOf(build, { build_id: idOf(next++) }));
        else if (what !== 'submit') {
          const changes = changesBy[what](view);
          if (changes !== null) stream.write(eventOf(build, { ...changes, sequence: view.sequence + 1 }));
        }
      }
      const fresh = stream.start();
      const old = stream.ledger.builds(now).filter(({ state }) => !isTerminal(state));
      for (const { buildId, attempt, handBacks } of old) {
        const build = Number(buildId.slice(-12));
        assert.equal(shown(fresh, build), shown(stream.ledger, build));
        assert.ok(attempt - (fresh.get(buildId)?.handBacks ?? 0) <= attempt - handBacks);
        const twin = eventOf(build, { build_id: idOf(next++) });
        assert.equal([fresh.apply(twin), stream.ledger.apply(twin)], ['superseded', 'superseded']);
      }
      const known = fresh.builds(now).filter(({ state }) => !isTerminal(state));
      assert.equal(known.map(({ buildId }) => buildId).sort(), old.map(({ buildId }) => buildId).sort());
    }),
    { numRuns: 60 },
  );
});

test.run();
