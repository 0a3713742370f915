import { type AttemptReport, maximumAttemptsShown } from '../api/attempt.ts';
import type { BuildEvent } from '../api/event.ts';

/** The attempts of a build, as its events tell of them: oldest first, the newest ten. */

/** The attempts after an event that has begun one. One that had no end until then has lost its worker. */
export function withBegun(
  attempts: readonly AttemptReport[],
  event: BuildEvent,
  lastEventAt: string,
): readonly AttemptReport[] {
  const before = attempts.map((one) =>
    one.outcome === 'running' ? ({ ...one, outcome: 'lost', ended_at: lastEventAt } as const) : one,
  );
  const begun: AttemptReport = {
    attempt: event.attempt,
    worker: event.worker,
    // Where the stream begins in the middle of a build, its steps may say when the attempt had begun.
    started_at: event.steps?.[0]?.started_at ?? event.time,
    ended_at: null,
    outcome: 'running',
    step: null,
    error_code: null,
  };
  return withEvent([...before, begun].slice(-maximumAttemptsShown), event);
}

/** The attempts after a further event of the newest one. */
export function withEvent(attempts: readonly AttemptReport[], event: BuildEvent): readonly AttemptReport[] {
  const newest = attempts.at(-1);
  const ended = event.state !== 'running';
  if (newest?.outcome !== 'running' || (!ended && newest.step === event.step)) return attempts;
  // The end of a completed build names no step.
  const step = event.step ?? event.error?.step ?? event.steps?.at(-1)?.step ?? newest.step;
  if (!ended) return [...attempts.slice(0, -1), { ...newest, step }];
  const end = { ended_at: event.time, outcome: outcomeOf(event), error_code: event.error?.code ?? null };
  return [...attempts.slice(0, -1), { ...newest, step, ...end }];
}

function outcomeOf({ state, error }: BuildEvent): AttemptReport['outcome'] {
  return state !== 'queued' ? state : error === undefined ? 'handed_back' : 'lost';
}
