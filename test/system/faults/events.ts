import * as assert from 'uvu/assert';
import { type BuildEvent, isTerminal } from '#lib/api/event.ts';

/** Fails unless the events of one build rise in sequence and exactly one, the last, ends it. */
export function assertInOrder(events: readonly BuildEvent[]): void {
  const sequences = events.map(({ sequence }) => sequence);
  assert.equal(
    sequences,
    [...new Set(sequences)].sort((one, other) => one - other),
  );
  const ends = events.filter(({ state }) => isTerminal(state));
  assert.is(ends.length, 1, `${ends.length} events end the build`);
  assert.is(events.at(-1), ends[0]);
}
