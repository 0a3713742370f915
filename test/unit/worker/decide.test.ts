import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import type { BuildView } from '#lib/queue/build.ts';
import {
  type AttemptDecision,
  decide,
  exhaustion,
  type JobDecision,
  type JobSituation,
  lostOwnership,
  outcomeOf,
} from '#lib/worker/decide.ts';
import { buildEvent } from '../queue/build-event.ts';

/** Decisions of a worker, as tables. */

const settings = { leaseMs: 90_000, maximumAttempts: 3, callbackTimeoutMs: 60_000 };
const nowMs = Date.parse('2026-11-26T12:00:00.000Z');
const ago = (ms: number) => new Date(nowMs - ms).toISOString();
const buildId = '0f3c2d1e-7a58-4c7b-9a3b-6a5f0f1e2d3c';

const job = {
  build_id: buildId,
  request: exampleRequest,
  callback: { url: 'https://caller.example/done', call_id: 'call-1' },
  submitted_at: ago(3_600_000),
};

const build = (changes: Partial<BuildView>): BuildView => ({
  ...{ buildId, ticketId: 'T-77', progressTrigger: 'testbuild-1-imagebuilder', caller: 'anonymous' },
  ...{ state: 'running', event: buildEvent({}), sequence: 7, queuedAt: ago(60_000), startedAt: ago(50_000) },
  ...{ updatedAt: ago(1_000), finishedAt: null, attempt: 1, handBacks: 0, owner: 'worker-a', cancelling: false },
  ...{ supersededBy: null, conflicting: false, requestDigest: null, series: null, notified: ['queued'], logTail: [] },
  ...{ request: null, retryOf: null, trace: null, attempts: [], steps: [] },
  ...changes,
});
const waiting = build({ state: 'queued', owner: null, attempt: 0, sequence: 0 });
const ended = (sinceMs: number, ...notified: BuildView['notified']) =>
  build({ state: 'completed', owner: null, finishedAt: ago(sinceMs), notified: ['queued', ...notified] });

const over = (view: BuildView): Partial<JobSituation> => ({ build: view, over: true });
const claim = (attempt: number, sequence: number, losses: number): JobDecision => ({
  ...{ do: 'claim', attempt, sequence, losses },
});
const notify = (exchange: boolean, callback: boolean): JobDecision => ({ do: 'notify', exchange, callback });

/** A job that is dropped needs no third column. */
const jobs: readonly (readonly [string, Partial<JobSituation>, JobDecision?])[] = [
  ['a build that waits is claimed', { build: waiting }, claim(1, 1, 0)],
  ['a job whose build no event tells of is claimed', {}, claim(1, 1, 0)],
  ['a build whose worker sends events is left to it', { build: build({}) }, { do: 'leave' }],
  ['a build whose worker was quiet for a lease is taken over', { build: build({}), quietMs: 90_000 }, claim(2, 8, 1)],
  ['a build that was handed back is no loss', { build: build({ owner: null, handBacks: 1 }) }, claim(2, 8, 0)],
  ['a build of this worker is left, however quiet', { build: build({}), quietMs: 1e9, inWork: true }, { do: 'leave' }],
  ['a superseded build is dropped', { build: waiting, over: true }],
  ['a build that has left the stream is dropped', { over: true }],
  ['an ended build is dropped when its caller is notified', over(ended(1_000, 'progress_trigger', 'callback'))],
  ['the worker that has ended a build notifies first', over(ended(1_000)), notify(false, false)],
  ['after a lease, another one publishes the end', over(ended(90_001)), notify(true, false)],
  ['after a callback’s time, too, it calls back', over(ended(150_001)), notify(true, true)],
  ['a way that is done is not repeated', over(ended(150_001, 'progress_trigger')), notify(false, true)],
  ['after a quarter of an hour nobody is notified any more', over(ended(900_001))],
];

for (const [name, situation, expected = { do: 'drop' }] of jobs) {
  test(name, () => {
    const least = { job, build: undefined, over: false, quietMs: 1_000, inWork: false, nowMs };
    assert.equal(decide({ ...least, ...situation }, settings), expected);
  });
}

test('a job without a callback needs none', () => {
  const situation = { job: { ...job, callback: null }, build: ended(150_001, 'progress_trigger'), over: true };
  assert.equal(decide({ ...situation, quietMs: 0, inWork: false, nowMs }, settings), { do: 'drop' });
});

const errorOf = (code: ConstructorParameters<typeof ImageBuilderError>[0]) => new ImageBuilderError(code, 'words');
const attempt = { losses: 0, worker: 'worker-a', place: 'install: Configuring libfoo' };
const after = (error: ImageBuilderError, losses = 0) => outcomeOf(error, { ...attempt, losses }, settings);

function end(decision: AttemptDecision): string {
  if (decision.do === 'forget') return 'forget';
  if (decision.do === 'hand back') return `hand back, ${decision.error === undefined ? 'no loss' : 'a loss'}`;
  const { outcome, bury } = decision;
  const code = outcome.state === 'completed' ? 'completed' : `${outcome.state} ${outcome.error.code}`;
  return `${code}${bury ? ', buried' : ''}`;
}

const ends: readonly [string, ImageBuilderError, number, string][] = [
  ['a build of another worker is forgotten', lostOwnership, 0, 'forget'],
  ['a worker that stops hands its build back', errorOf('worker.stopping'), 2, 'hand back, no loss'],
  ['a cancelled build ends as cancelled', errorOf('build.cancelled'), 0, 'cancelled build.cancelled'],
  ['a wrong package ends the build', errorOf('apt.package'), 0, 'failed apt.package'],
  ['a lost guest is tried again', errorOf('guest.failed'), 1, 'hand back, a loss'],
  ['a guest that is lost for the last time ends the build', errorOf('guest.failed'), 2, 'failed guest.failed, buried'],
];
for (const [name, error, losses, expected] of ends) {
  test(name, () => assert.is(end(after(error, losses)), expected));
}

test('an error from outside says what the build was doing', () => {
  for (const code of ['build.timeout', 'guest.limit'] as const) {
    const decision = after(errorOf(code));
    assert.ok(decision.do === 'finish' && decision.outcome.state === 'failed');
    assert.is(decision.outcome.error.message, 'words; it was at "install: Configuring libfoo"');
  }
});

test('a build is given up when as many workers were lost as there may be attempts', () => {
  assert.is(exhaustion(2, 3), null);
  assert.match(exhaustion(3, 3)?.message ?? '', /^3 workers were lost/);
});

test.run();
