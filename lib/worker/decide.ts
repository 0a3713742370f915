import { type ErrorCode, ImageBuilderError } from '../errors.ts';
import type { BuildView } from '../queue/build.ts';
import type { BuildJob } from '../queue/job.ts';
import type { Outcome } from './reporter.ts';

/** Decisions of a worker, as functions of the facts that it has. They have no effects. */

/** Settings that decisions depend on. */
export interface DecisionSettings {
  /** A build without an event of its worker for so long may be claimed again. */
  readonly leaseMs: number;
  readonly maximumAttempts: number;
  readonly callbackTimeoutMs: number;
}

/** The facts that the worker has when a job has come off the queue. */
export interface JobSituation {
  readonly job: BuildJob;
  /** The build by its events; missing where there was no event of it, or none any more. */
  readonly build: BuildView | undefined;
  /** True when the build has ended, was superseded or withdrawn. */
  readonly over: boolean;
  /** Since the last event of the build, by this machine's clock. */
  readonly quietMs: number;
  /** True while this worker itself builds it. */
  readonly inWork: boolean;
  readonly nowMs: number;
}

/**
 * The decision about a job. All but `drop` keep a copy of it in the queue of leases, from which it comes back.
 *
 * - `drop`: nothing is left to do.
 * - `notify`: the build has ended, and its caller has not been notified yet in the ways that are true.
 * - `leave`: some worker is building it.
 * - `claim`: start the next attempt. `losses` is how many attempts ended with a dead worker or guest so far.
 */
export type JobDecision =
  | { readonly do: 'drop' | 'leave' }
  | { readonly do: 'notify'; readonly exchange: boolean; readonly callback: boolean }
  | { readonly do: 'claim'; readonly attempt: number; readonly sequence: number; readonly losses: number };

/** Time for which a worker tries to notify the caller of a build's end that has not been notified so far. */
const notifyForMs = 15 * 60_000;

/** Decides what to do with a job that came off the queue: it may be new, or the copy of a lease that ran out. */
export function decide(situation: JobSituation, settings: DecisionSettings): JobDecision {
  const { build, over, quietMs, inWork } = situation;
  if (over) return decideNotification(situation, settings);
  const claimed = build !== undefined && build.owner !== null && quietMs < settings.leaseMs;
  if (inWork || claimed) return { do: 'leave' };
  const attempts = build?.attempt ?? 0;
  return {
    do: 'claim',
    attempt: attempts + 1,
    sequence: (build?.sequence ?? 0) + 1,
    losses: attempts - (build?.handBacks ?? 0),
  };
}

/** The worker that ended the build may still notify its caller: others wait as long as that may take. */
function decideNotification({ job, build, nowMs }: JobSituation, settings: DecisionSettings): JobDecision {
  if (build === undefined || build.finishedAt === null) return { do: 'drop' };
  const sinceMs = nowMs - Date.parse(build.finishedAt);
  const exchange = !build.notified.includes('progress_trigger');
  const callback = job.callback !== null && !build.notified.includes('callback');
  if (sinceMs > notifyForMs || (!exchange && !callback)) return { do: 'drop' };
  return {
    do: 'notify',
    exchange: exchange && sinceMs > settings.leaseMs,
    callback: callback && sinceMs > settings.leaseMs + settings.callbackTimeoutMs,
  };
}

/** An attempt at a build that has ended. */
export interface Attempt {
  /** Attempts before this one that ended with a dead worker or guest. */
  readonly losses: number;
  /** Name of the worker. */
  readonly worker: string;
  /** Step and message at its end, such as `install: Configuring libfoo`. */
  readonly place: string;
}

/**
 * The consequence of an attempt without an image.
 *
 * - `forget`: another worker has the build; nothing more may be said of it.
 * - `hand back`: the build goes back to the queue for the next attempt. With an error, this attempt is a loss.
 * - `finish`: the build ends. `bury` keeps its job in the queue imagebuilder.buried.
 */
export type AttemptDecision =
  | { readonly do: 'forget' }
  | { readonly do: 'hand back'; readonly message: string; readonly error?: ImageBuilderError }
  | { readonly do: 'finish'; readonly outcome: Outcome; readonly bury: boolean };

/** The reason for ending an attempt whose build belongs to another worker by now. */
export const lostOwnership = new ImageBuilderError('internal', 'another worker has taken the build over');

/** Decides what follows an attempt that ended with an error. */
export function outcomeOf(
  error: ImageBuilderError,
  { losses, worker, place }: Attempt,
  { maximumAttempts }: Pick<DecisionSettings, 'maximumAttempts'>,
): AttemptDecision {
  if (error === lostOwnership) return { do: 'forget' };
  if (error.code === 'worker.stopping') {
    return { do: 'hand back', message: `${worker} stops; another worker takes the build` };
  }
  if (error.code === 'build.cancelled') return { do: 'finish', outcome: { state: 'cancelled', error }, bury: false };
  // This machine's fault, not the build's: it counts as a lost worker.
  const lost = error.code === 'guest.failed';
  if (lost && losses + 1 < maximumAttempts) {
    return { do: 'hand back', message: `${error.message}; the build is started again`, error };
  }
  const placed = placelessCodes.includes(error.code) ? withPlace(error, place) : error;
  return { do: 'finish', outcome: { state: 'failed', error: placed }, bury: lost };
}

/** The end of a build whose workers were lost too often; null for one that may be tried again. */
export function exhaustion(losses: number, maximumAttempts: number): ImageBuilderError | null {
  if (losses < maximumAttempts) return null;
  return new ImageBuilderError(
    'build.attempts_exhausted',
    `${losses} workers were lost while they worked on this build; its job is kept in the queue imagebuilder.buried`,
  );
}

/** Errors that end a build from outside: they do not say at which step the build was. */
const placelessCodes: readonly ErrorCode[] = ['build.timeout', 'guest.limit'];

function withPlace(error: ImageBuilderError, place: string): ImageBuilderError {
  const { code, message, logTail } = error;
  return new ImageBuilderError(code, `${message}; it was at "${place}"`, { cause: error, logTail });
}
