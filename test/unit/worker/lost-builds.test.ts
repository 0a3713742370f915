import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type BuildView, newBuild } from '#lib/queue/build.ts';
import { createLostBuilds } from '#lib/worker/lost-builds.ts';
import { buildEvent } from '../queue/build-event.ts';

const leaseMs = 90_000;
const heldMs = 90_000;
const apart = leaseMs + heldMs;
const waiting = (changes: Partial<BuildView> = {}, quietMs = 3_600_000) => [
  { build: { ...newBuild({ event: buildEvent({}) }), ...changes }, quietMs },
];

test('a job is gone after three looks that are further apart than a lease and a worker’s hands take', () => {
  const lost = createLostBuilds(leaseMs, heldMs);
  const looks = [0, 1, apart - 1, apart, apart + 1, 2 * apart - 1].map((at) => lost.look(waiting(), at).length);
  assert.equal(looks, [0, 0, 0, 0, 0, 0]);
  assert.is(lost.look(waiting(), 2 * apart).length, 1);
});

test('looks count anew for a build of which something was heard, or that was not waiting at one of them', () => {
  const lost = createLostBuilds(leaseMs, heldMs);
  lost.look(waiting(), 0);
  lost.look(waiting(), apart);
  assert.is(lost.look(waiting({ sequence: 7 }), 2 * apart).length, 0);
  assert.is(lost.look(waiting({ sequence: 7 }), 3 * apart).length, 0);
  assert.is(lost.look([], 4 * apart).length, 0);
  assert.is(lost.look(waiting({ sequence: 7 }), 4 * apart).length, 0);
});

test('a cancelled build ends at the first look, unless a worker may just be taking it', () => {
  const lost = createLostBuilds(leaseMs, heldMs);
  assert.is(lost.look(waiting({ cancelling: true }, 100), 0).length, 0);
  assert.is(lost.look(waiting({ cancelling: true }, 20_000), 100).length, 1);
});

test.run();
