import * as assert from 'uvu/assert';
import { type BuildEvent, isTerminal } from '#lib/api/event.ts';

/**
 * Events without those that came a second time, straight behind the first: as callers are told, that happens where a
 * connection ends before RabbitMQ has confirmed an event.
 */
export function withoutRepeats(events: readonly BuildEvent[]): BuildEvent[] {
  return events.filter((event, index) => {
    const before = events[index - 1];
    if (before?.sequence !== event.sequence) return true;
    assert.equal(event, before);
    return false;
  });
}

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
