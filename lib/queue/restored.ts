import { randomUUID } from 'node:crypto';
import type { BuildEvent } from '../api/event.ts';
import { type BuildView, backgroundOf, submissionOf } from './build.ts';
import type { StreamRecord } from './record.ts';

/**
 * The records that make a build known to an events stream that has lost them, or never had them: its newest event, a
 * request to cancel it, and how its caller was notified.
 */
export function recordsOf(build: BuildView): StreamRecord[] {
  const { buildId: build_id, cancelling, updatedAt, notified } = build;
  const submission = submissionOf(build);
  // An event that hands the build back begins no attempt.
  const earlier = build.state === 'queued' ? build.attempt + 1 : build.attempt;
  const beside = { ...(submission && { submission }), background: backgroundOf(build, earlier) };
  return [
    { kind: 'event', id: randomUUID(), event: withoutLog(build.event), ...beside },
    ...(cancelling ? [{ kind: 'cancel', id: randomUUID(), build_id, time: updatedAt } as const] : []),
    ...notified.map((way) => ({ kind: 'told', id: randomUUID(), build_id, way }) as const),
  ];
}

/** The event as it is repeated in the stream. */
export function withoutLog({ log: _log, guest: _guest, error, ...event }: BuildEvent): BuildEvent {
  if (error === undefined) return event;
  const { log_tail: _tail, ...report } = error;
  return { ...event, error: report };
}
