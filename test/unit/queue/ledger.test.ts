import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type BuildEvent, isTerminal } from '#lib/api/event.ts';
import { maximumBuildsAnHour } from '#lib/callers.ts';
import type { Verdict } from '#lib/queue/build.ts';
import { createLedger, type Ledger } from '#lib/queue/ledger.ts';
import { overviewOf } from '#lib/queue/overview.ts';
import type { Submission } from '#lib/queue/submission.ts';
import { holds } from '../holds.ts';
import { buildEvent } from './build-event.ts';

const ids = [1, 2, 3].map((digit) => `00000000-0000-4000-8000-00000000000${digit}`);
const [first = '', second = ''] = ids;
const idOf = (index: number) => `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`;
const startOfTime = Date.parse('2026-01-01T00:00:00Z');
const create = () => createLedger({ forgetAfterSeconds: 3_600, historyBytes: 2 ** 20 });

const eventOf = (values: Partial<BuildEvent>): BuildEvent =>
  buildEvent({ build_id: first, ticket_id: 'T-1', progress_trigger: 'lander', ...values });

const submission = { caller: 'lander', request_sha256: '1'.repeat(64) };
const apply = (ledger: Ledger, values: Partial<BuildEvent>, submitted?: Submission): Verdict =>
  ledger.apply({ kind: 'event', id: first, event: eventOf(values), submission: submitted });
const cancel = (ledger: Ledger, buildId = first): Verdict =>
  ledger.apply({ kind: 'cancel', id: first, build_id: buildId, time: new Date(startOfTime).toISOString() });
const withdraw = (ledger: Ledger, buildId = first): Verdict =>
  ledger.apply({ kind: 'withdrawn', id: first, build_id: buildId });
const key = { caller: 'anonymous', ticketId: 'T-1', progressTrigger: 'lander' };
const running = (worker: string, attempt: number, sequence: number): Partial<BuildEvent> => ({
  state: 'running',
  worker,
  attempt,
  sequence,
});

test('the first claim of an attempt wins and a later one changes nothing', () => {
  const ledger = create();
  assert.is(apply(ledger, {}), 'applied');
  assert.is(apply(ledger, running('a', 1, 1)), 'applied');
  assert.is(apply(ledger, running('b', 1, 1)), 'not_owner');
  assert.is(ledger.owns(first, 'a', 1), true);
  assert.is(ledger.owns(first, 'b', 1), false);
  assert.is(ledger.get(first)?.owner, 'a');
});

test('a worker that was taken over is not heard any more, whatever it sends', () => {
  const ledger = create();
  apply(ledger, {});
  apply(ledger, running('a', 1, 1));
  assert.is(apply(ledger, running('b', 2, 2)), 'applied');
  assert.is(ledger.owns(first, 'a', 1), false);
  assert.is(apply(ledger, running('a', 1, 3)), 'not_owner');
  assert.is(apply(ledger, { ...running('a', 1, 4), state: 'completed' }), 'not_owner');
  assert.is(ledger.get(first)?.state, 'running');
});

test('only the first terminal event counts; the same one again is known as such', () => {
  const ledger = create();
  apply(ledger, {});
  apply(ledger, running('a', 1, 1));
  assert.is(apply(ledger, { ...running('a', 1, 2), state: 'completed' }), 'applied');
  assert.is(apply(ledger, { ...running('a', 1, 2), state: 'completed' }), 'duplicate');
  assert.is(apply(ledger, { ...running('a', 1, 3), state: 'failed' }), 'finished');
  assert.is(apply(ledger, running('b', 2, 4)), 'finished');
  assert.is(ledger.get(first)?.state, 'completed');
  assert.is(ledger.get(first)?.owner, null);
});

test('a build that is handed back waits for the next attempt, and the hand-back is counted', () => {
  const ledger = create();
  apply(ledger, {});
  apply(ledger, running('a', 1, 1));
  assert.is(apply(ledger, { ...running('b', 1, 2), state: 'queued' }), 'not_owner');
  assert.is(apply(ledger, { ...running('a', 1, 2), state: 'queued' }), 'applied');
  const build = ledger.get(first);
  assert.equal([build?.state, build?.owner, build?.attempt, build?.handBacks], ['queued', null, 1, 1]);
  assert.is(apply(ledger, running('a', 1, 3)), 'not_owner');
  assert.is(apply(ledger, running('c', 2, 3)), 'applied');
});

test('a request whose build is not finished supersedes later equal ones, ticket 1 and "1" being equal', () => {
  const ledger = create();
  apply(ledger, { ticket_id: 1 });
  assert.is(apply(ledger, { build_id: second, ticket_id: '1' }), 'superseded');
  assert.is(ledger.get(second)?.supersededBy, first);
  assert.is(ledger.builds(new Date(startOfTime)).length, 1);
  // Not even after the end of the winner: the caller has the winner's id.
  apply(ledger, { ...running('a', 1, 1), ticket_id: 1, state: 'failed' });
  assert.is(apply(ledger, { ...running('a', 1, 1), build_id: second, ticket_id: 1 }), 'superseded');
  assert.is(cancel(ledger, second), 'superseded');
});

test('of a second submission with the same key it is known whether its request differs, whichever record came first', () => {
  const other = { ...submission, request_sha256: '2'.repeat(64) };
  for (const [registered, submitted, conflicting] of [
    [submission, submission, false],
    [submission, other, true],
    // Of versions that knew no digests.
    [undefined, { ...other, caller: 'anonymous' }, true],
    [{ ...other, caller: 'anonymous' }, undefined, true],
  ] as const) {
    for (const record of [{}, running('a', 1, 1)]) {
      const ledger = create();
      apply(ledger, {}, registered);
      assert.is(apply(ledger, { ...record, build_id: second }, submitted), 'superseded');
      assert.is(ledger.get(second)?.conflicting, conflicting);
      assert.is(ledger.get(first)?.requestDigest, registered?.request_sha256 ?? null);
    }
  }
});

test('a stream that begins in the middle of a build still says whose it is and of which request', () => {
  const ledger = create();
  apply(ledger, running('a', 1, 7), submission);
  const build = ledger.get(first);
  assert.equal([build?.caller, build?.requestDigest], [submission.caller, submission.request_sha256]);
});

test('the ticket of one caller’s unfinished build means nothing to another caller', () => {
  const ledger = create();
  apply(ledger, {}, submission);
  assert.is(apply(ledger, { build_id: second }, { ...submission, caller: 'other' }), 'applied');
  const now = new Date(startOfTime);
  const buildOf = (caller: string) => ledger.unfinished({ ...key, caller }, now)?.buildId;
  assert.equal([buildOf('lander'), buildOf('other'), buildOf('anonymous')], [first, second, undefined]);
  apply(ledger, { ...running('a', 1, 1), state: 'completed' }, submission);
  assert.equal([buildOf('lander'), buildOf('other')], [undefined, second]);
});

test('unfinished builds, and submissions within an hour, are counted for each caller by itself', () => {
  const ledger = create();
  const at = (minutes: number) => new Date(startOfTime + minutes * 60_000);
  const submit = (index: number, minutes: number, caller = 'lander') =>
    apply(
      ledger,
      { build_id: ids[index] ?? '', ticket_id: index, time: at(minutes).toISOString() },
      { ...submission, caller },
    );
  const usage = (caller: string, minutes: number) => {
    const { unfinished, submittedAtMs } = ledger.usage(caller, at(minutes));
    return [unfinished, submittedAtMs.map((time) => (time - startOfTime) / 60_000)];
  };
  submit(0, 0);
  submit(1, 20);
  submit(2, 30, 'other');
  assert.equal(usage('lander', 30), [2, [0, 20]]);
  assert.equal(usage('other', 30), [1, [30]]);
  assert.equal(usage('nobody', 30), [0, []]);
  apply(ledger, { ...running('a', 1, 1), ticket_id: 0, state: 'completed', time: at(40).toISOString() });
  assert.equal(usage('lander', 40), [1, [0, 20]], 'an ended build still counts for its hour');
  assert.equal(usage('lander', 60), [1, [20]]);
  withdraw(ledger, second);
  assert.equal(usage('lander', 60), [0, []], 'a submission that was answered with an error does not count');
});

test('ended builds count for their hour also when their details are dropped, up to the highest limit', () => {
  const ledger = create();
  for (let index = 0; index < maximumBuildsAnHour + 5; index += 1) {
    const build_id = `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`;
    apply(ledger, { build_id, ticket_id: index }, submission);
    apply(ledger, { ...running('a', 1, 1), build_id, ticket_id: index, state: 'completed' }, submission);
  }
  const { unfinished, submittedAtMs } = ledger.usage(submission.caller, new Date(startOfTime));
  assert.equal([unfinished, submittedAtMs.length], [0, maximumBuildsAnHour]);
});

test('a withdrawn submission is not built for the sake of one that it conflicts with', () => {
  const ledger = create();
  apply(ledger, {}, submission);
  apply(ledger, { build_id: second }, { ...submission, request_sha256: '2'.repeat(64) });
  assert.is(withdraw(ledger), 'applied');
  assert.is(ledger.isOver(first), true);
});

test('a request equal to a finished one is a build of its own', () => {
  const ledger = create();
  apply(ledger, {});
  apply(ledger, { ...running('a', 1, 1), state: 'cancelled' });
  assert.is(apply(ledger, { build_id: second }), 'applied');
  assert.is(ledger.unfinished(key, new Date(startOfTime))?.buildId, second);
});

test('a build that was not heard of for the whole retention does not block its request for ever', () => {
  const ledger = create();
  apply(ledger, {});
  const later = new Date(startOfTime + 3_601_000);
  assert.is(ledger.unfinished(key, later), undefined);
  assert.is(apply(ledger, { build_id: second, time: later.toISOString() }), 'applied');
  assert.equal(
    ledger.builds(later).map((build) => build.buildId),
    [second],
  );
});

test('a stream that begins in the middle of a build is taken at its word', () => {
  const ledger = create();
  assert.is(apply(ledger, running('a', 2, 40)), 'applied');
  assert.is(ledger.owns(first, 'a', 2), true);
  const handedBack = create();
  assert.is(apply(handedBack, { ...running('a', 2, 40), state: 'queued' }), 'applied');
  assert.is(apply(handedBack, running('b', 3, 41)), 'applied');
  const ended = create();
  assert.is(apply(ended, { ...running('a', 2, 40), state: 'completed' }), 'applied');
  assert.is(ended.get(first)?.state, 'completed');
});

test('a cancel marks a build that is not finished, and nothing else', () => {
  const ledger = create();
  assert.is(cancel(ledger), 'unknown');
  apply(ledger, {});
  assert.is(cancel(ledger), 'applied');
  assert.is(cancel(ledger), 'duplicate');
  assert.is(ledger.get(first)?.cancelling, true);
  apply(ledger, { ...running('a', 1, 1), state: 'cancelled' });
  assert.is(cancel(ledger), 'finished');
});

test('the log keeps its newest 60 lines', () => {
  const ledger = create();
  apply(ledger, {});
  for (let sequence = 1; sequence <= 5; sequence += 1) {
    const log = Array.from({ length: 20 }, (_, line) => `${sequence}.${line}`);
    apply(ledger, { ...running('a', 1, sequence), log });
  }
  assert.is(ledger.get(first)?.logTail.length, 60);
  assert.is(ledger.get(first)?.logTail.at(-1), '5.19');
});

test('a finished build is known whatever came after, also what came after its end, until its memory is full', () => {
  const end = (ledger: Ledger, index: number, log?: string[]) => {
    apply(ledger, { build_id: idOf(index), ticket_id: index }, submission);
    const ended = { ...running('a', 1, 1), build_id: idOf(index), ticket_id: index, state: 'failed' } as const;
    apply(ledger, { ...ended, message: `end of ${index}`, ...(log && { log }) }, submission);
  };
  const roomy = createLedger({ forgetAfterSeconds: 3_600, historyBytes: 2 ** 22 });
  for (let index = 0; index < 3_000; index += 1) end(roomy, index, ['one', `${index}`]);
  const oldest = roomy.get(idOf(0));
  assert.equal(
    [oldest?.event.message, oldest?.logTail, oldest?.caller, oldest?.state],
    ['end of 0', ['one', '0'], submission.caller, 'failed'],
  );
  assert.is([...roomy.newestFirst(new Date(startOfTime), { caller: null })].length, 3_000);
  const notify = () => roomy.apply({ kind: 'told', id: first, build_id: idOf(0), way: 'callback' });
  assert.equal([notify(), notify(), roomy.get(idOf(0))?.notified], ['applied', 'duplicate', ['callback']]);
  assert.equal([cancel(roomy, idOf(0)), withdraw(roomy, idOf(0))], ['finished', 'finished']);

  const full = createLedger({ forgetAfterSeconds: 3_600, historyBytes: 2 ** 16 });
  for (let index = 0; index < 3_000; index += 1) end(full, index);
  const left = [...full.newestFirst(new Date(startOfTime), { caller: null })].length;
  assert.ok(left > 50 && left < 200, `${left} builds in 64 KiB`);
  assert.equal([full.get(idOf(0)), full.isOver(idOf(0))], [undefined, true]);
  assert.is(full.get(idOf(2_999))?.event.message, 'end of 2999');
});

test('a finished build that is older than the stream is dropped from memory', () => {
  const ledger = create();
  const at = (minutes: number) => new Date(startOfTime + minutes * 60_000).toISOString();
  for (let index = 0; index < 200; index += 1) {
    const of = { build_id: idOf(index), ticket_id: index, time: at(index) };
    apply(ledger, of);
    apply(ledger, { ...running('a', 1, 1), ...of, state: 'failed' });
  }
  assert.is(ledger.get(idOf(80)), undefined);
  assert.is(ledger.get(idOf(190))?.state, 'failed');
});

test('builds wait in the order in which they began to, and those that were handed back begin anew', () => {
  const ledger = create();
  for (const index of [0, 1, 2]) apply(ledger, { build_id: idOf(index), ticket_id: index });
  const now = new Date(startOfTime);
  const waiting = () => [...ledger.waiting(now).keys()].map((id) => Number(id.slice(-2)));
  assert.equal(waiting(), [0, 1, 2]);
  const first = { build_id: idOf(0), ticket_id: 0 };
  apply(ledger, { ...running('a', 1, 1), ...first });
  assert.equal(waiting(), [1, 2]);
  apply(ledger, { ...running('a', 1, 2), ...first, state: 'queued' });
  assert.equal(waiting(), [1, 2, 0]);
  withdraw(ledger, idOf(1));
  apply(ledger, { ...running('a', 1, 1), build_id: idOf(2), ticket_id: 2, state: 'cancelled' });
  assert.equal(waiting(), [0]);
  assert.equal(ledger.waiting(new Date(startOfTime + 3_601_000)).size, 0, 'a build that the stream has lost');
});

test('a late event of a finished build does not revive it', () => {
  const many = create();
  for (let index = 0; index < 300; index += 1) {
    apply(many, { build_id: idOf(index), ticket_id: index });
    apply(many, { ...running('a', 1, 1), build_id: idOf(index), ticket_id: index, state: 'completed' });
  }
  const kept = many.builds(new Date(startOfTime));
  assert.equal([kept.length, kept[0]?.buildId], [50, idOf(250)]);
  assert.is(apply(many, { ...running('b', 2, 9), build_id: idOf(0), ticket_id: 0 }), 'finished');
});

/** Anything that workers and submitters might append, sensible or not. */
const anyEvent = fc.record({
  build_id: fc.constantFrom(...ids),
  worker: fc.constantFrom(null, 'a', 'b', 'c'),
  attempt: fc.integer({ min: 0, max: 4 }),
  sequence: fc.integer({ min: 0, max: 12 }),
  state: fc.constantFrom('queued', 'running', 'completed', 'failed', 'cancelled'),
} satisfies Record<string, fc.Arbitrary<unknown>>) as fc.Arbitrary<Partial<BuildEvent>>;

test('records in any order: one build per request, one owner per attempt, one end, and no way back', () => {
  holds(
    fc.property(fc.array(anyEvent, { maxLength: 60 }), (events) => {
      const ledger = create();
      const owners = new Map<string, string | null>();
      const ends = new Map<string, number>();
      const highest = new Map<string, number>();
      for (const values of events) {
        const verdict = apply(ledger, values);
        const unfinished = ledger.builds(new Date(startOfTime)).filter((build) => !isTerminal(build.state));
        assert.ok(unfinished.length <= 1);
        if (verdict !== 'applied') continue;
        const event = eventOf(values);
        const build = ledger.get(event.build_id);
        assert.is(build?.state, event.state);
        assert.ok((build?.attempt ?? 0) >= (highest.get(event.build_id) ?? 0));
        highest.set(event.build_id, build?.attempt ?? 0);
        if (isTerminal(event.state)) ends.set(event.build_id, (ends.get(event.build_id) ?? 0) + 1);
        if (event.state !== 'running') continue;
        const attempt = `${event.build_id} ${event.attempt}`;
        assert.is(event.worker, owners.has(attempt) ? owners.get(attempt) : event.worker);
        owners.set(attempt, event.worker);
      }
      for (const count of ends.values()) assert.is(count, 1);
    }),
    { numRuns: 500 },
  );
});

test('two replicas that read the same records agree, also when one of them reads some twice', () => {
  holds(
    fc.property(fc.array(fc.tuple(anyEvent, fc.boolean()), { maxLength: 60 }), (events) => {
      const one = create();
      const two = create();
      for (const [values, twice] of events) {
        const before = two.get(eventOf(values).build_id)?.event.sequence;
        apply(one, values);
        apply(two, values);
        // A repeated append comes before its sender goes on; a second claim by nobody is none.
        if (twice && before !== undefined) apply(two, values);
      }
      const now = new Date(startOfTime);
      const view = (ledger: Ledger) => ledger.builds(now).map((build) => [build.buildId, build.state]);
      assert.equal(view(one), view(two));
    }),
    { numRuns: 300 },
  );
});

test('any interleaving of two workers that claim, work, and end leaves exactly one of them in charge', () => {
  const life = (worker: string) => [
    running(worker, 1, 1),
    running(worker, 1, 2),
    running(worker, 1, 3),
    { ...running(worker, 1, 4), state: 'completed' } as const,
  ];
  holds(
    fc.property(fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }), (choices) => {
      const lives = { a: life('a'), b: life('b') };
      const ledger = create();
      apply(ledger, {});
      let winner: string | null | undefined;
      for (const choice of choices) {
        const next = (choice ? lives.a : lives.b).shift() ?? lives.a.shift() ?? lives.b.shift();
        if (next === undefined) continue;
        const verdict = apply(ledger, next);
        winner ??= next.worker;
        assert.is(verdict === 'applied', next.worker === winner);
      }
      assert.is(ledger.get(first)?.event.worker, winner);
      assert.is(ledger.get(first)?.state, 'completed');
    }),
  );
});

test('an attempt that was given back with an error counts as lost, one in good order does not', () => {
  const ledger = create();
  apply(ledger, {});
  apply(ledger, running('a', 1, 1));
  apply(ledger, { ...running('a', 1, 2), state: 'queued' });
  assert.is(ledger.get(first)?.handBacks, 1);
  apply(ledger, running('a', 2, 3));
  const error = { code: 'guest.failed', message: '', step: null, fault: 'service', retryable: true } as const;
  apply(ledger, { ...running('a', 2, 4), state: 'queued', error });
  assert.is(ledger.get(first)?.handBacks, 1);
});

test('a withdrawn submission is over, whether its event came before, after or never', () => {
  const before = create();
  apply(before, {});
  assert.is(withdraw(before), 'applied');
  assert.equal([before.isOver(first), before.builds(new Date(startOfTime))], [true, []]);
  assert.is(apply(before, running('a', 1, 1)), 'finished');

  const after = create();
  assert.is(withdraw(after), 'applied');
  assert.is(apply(after, {}), 'finished');
  assert.is(after.isOver(first), true);

  assert.is(apply(before, { build_id: second }), 'applied', 'the same request is a new build then');
});

test('a withdrawn submission that another caller was given as its own is built', () => {
  const ledger = create();
  apply(ledger, {}, submission);
  assert.is(apply(ledger, { build_id: second }, submission), 'superseded');
  assert.is(withdraw(ledger), 'duplicate');
  assert.equal([ledger.isOver(first), ledger.isOver(second)], [false, true]);
});

test('a withdrawn submission that a worker has begun is cancelled', () => {
  const ledger = create();
  apply(ledger, {});
  apply(ledger, running('a', 1, 1));
  withdraw(ledger);
  assert.equal([ledger.get(first)?.cancelling, ledger.isOver(first)], [true, false]);
});

test('the ledger knows how the caller was notified of the end', () => {
  const ledger = create();
  apply(ledger, {});
  apply(ledger, running('a', 1, 1));
  apply(ledger, { ...running('a', 1, 2), state: 'completed' });
  const notify = () => ledger.apply({ kind: 'told', id: first, build_id: first, way: 'progress_trigger' });
  assert.equal([notify(), notify()], ['applied', 'duplicate']);
  assert.equal(ledger.get(first)?.notified, ['progress_trigger']);
});

test('how a worker opens images is known from the event that said so, whatever came after it', () => {
  const ledger = create();
  apply(ledger, {});
  apply(ledger, running('a', 1, 1));
  assert.equal(ledger.workers()[0]?.guest, null);
  const guest = { kind: 'vm', accelerator: 'tcg', reason: '/dev/kvm cannot be opened' } as const;
  apply(ledger, { ...running('a', 1, 2), guest });
  apply(ledger, running('a', 1, 3));
  const time = new Date(startOfTime).toISOString();
  assert.equal(ledger.workers(), [{ name: 'a', lastSeenAt: time, guest, unable: null, stopped: false }]);
  const host = { kind: 'host', accelerator: null, reason: 'the setting says so' } as const;
  apply(ledger, { ...running('a', 1, 4), guest: host });
  assert.equal(ledger.workers()[0]?.guest, host, 'the newest word counts');
  assert.equal(overviewOf(ledger, new Date(startOfTime), { caller: null }).workers[0]?.guest, host);
});

test.run();
