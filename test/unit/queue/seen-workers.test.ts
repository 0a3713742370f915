import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { allUnable, createSeenWorkers, isLiving, livesForMs, whyNoneBuilds } from '#lib/queue/seen-workers.ts';
import { buildEvent } from './build-event.ts';

const start = Date.parse('2026-01-01T00:00:00Z');
const at = (ms: number) => new Date(start + ms);

type Shown = readonly [name: string, unable: string | null, stopped?: true];

/** The workers after records of these, all at the start. */
function shown(...workers: readonly Shown[]) {
  const seen = createSeenWorkers();
  for (const [worker, unable, stopped] of workers) {
    const record = { kind: 'worker', id: '', worker, time: at(0).toISOString(), unable } as const;
    seen.noteRecord(stopped ? { ...record, stopped } : record);
  }
  return seen;
}

test('a worker lives from the first time that it shows itself until it is silent for too long, or ends', () => {
  const [silent] = shown(['a', null]).list();
  assert.ok(silent);
  assert.equal([isLiving(silent, at(livesForMs - 1)), isLiving(silent, at(livesForMs))], [true, false]);
  const seen = shown(['a', null, true]);
  assert.equal(
    seen.list().map((worker) => isLiving(worker, at(0))),
    [false],
  );
  seen.note(buildEvent({ worker: 'a', state: 'running', time: at(1).toISOString() }));
  assert.equal(
    seen.list().map((worker) => isLiving(worker, at(1))),
    [true],
    'it was started again',
  );
});

test('an event of a build changes nothing about why its worker takes no other', () => {
  const seen = shown(['a', 'disk full']);
  seen.note(buildEvent({ worker: 'a', state: 'running', time: at(1).toISOString() }));
  assert.is(seen.list()[0]?.unable, 'disk full');
  seen.noteRecord({ kind: 'worker', id: '', worker: 'a', time: at(2).toISOString(), unable: null });
  assert.is(seen.list()[0]?.unable, null);
});

test('a build has a reason to wait where no living worker can build, and none where one can', () => {
  const why = (...workers: readonly Shown[]) => whyNoneBuilds(shown(...workers).list(), at(0));
  const unknown = 'no worker is known to be running; the build waits until one starts';
  assert.is(why(), unknown);
  assert.is(why(['a', null, true], ['b', 'disk full', true]), unknown);
  assert.is(why(['a', null], ['b', 'disk full']), null);
  assert.is(
    why(['a', 'disk full'], ['b', null, true]),
    'no worker can build now (a: disk full); the build waits until one can',
  );
  const many = why(['a', 'w'], ['b', 'x'], ['c', 'y'], ['d', 'z'], ['e', 'z']);
  assert.is(many, 'no worker can build now (e: z; d: z; c: y; and 2 more); the build waits until one can');
  assert.is(whyNoneBuilds(shown(['a', null]).list(), at(livesForMs)), unknown);
});

test('workers of which none is left are no sign of a fault', () => {
  assert.is(allUnable([], at(0)), null);
  assert.is(allUnable(shown(['a', 'disk full', true]).list(), at(0)), null);
  assert.is(allUnable(shown(['a', 'disk full']).list(), at(0))?.length, 1);
});

test.run();
