import type { AttemptReport } from '../api/attempt.ts';
import { type BuildEvent, type BuildState, isTerminal, type StepTimes } from '../api/event.ts';
import type { KeptRequest } from '../api/kept-request.ts';
import { anonymous } from '../callers.ts';
import type { TraceHeaders } from '../trace-context.ts';
import { withBegun, withEvent } from './attempts.ts';
import type { Background } from './background.ts';
import type { StreamRecord } from './record.ts';
import type { Submission } from './submission.ts';

/** One build by its records: how it begins, and what an event of it does to it. */

/** A way in which a caller is notified of the end of a build; `queued`: it was notified of the beginning. */
export type NotificationWay = Extract<StreamRecord, { kind: 'told' }>['way'];

/** The effect of a record. Only an `applied` one has changed anything. */
export type Verdict = 'applied' | 'duplicate' | 'not_owner' | 'superseded' | 'finished' | 'unknown';

/** A build by the records so far. Times are those of the events. */
export interface BuildView {
  readonly buildId: string;
  readonly ticketId: string | number;
  readonly progressTrigger: string;
  /** Name of the caller that submitted it. */
  readonly caller: string;
  /** Series of its base image; null for a build that was submitted by a version that did not record it. */
  readonly series: string | null;
  readonly state: BuildState;
  /** The newest event that counted. */
  readonly event: BuildEvent;
  /** Sequence number of the newest event. */
  readonly sequence: number;
  readonly queuedAt: string;
  readonly startedAt: string | null;
  readonly updatedAt: string;
  readonly finishedAt: string | null;
  /** Number of claims by workers. */
  readonly attempt: number;
  /** Number of these attempts that their workers handed back; the others ended with a dead worker or guest. */
  readonly handBacks: number;
  /** The worker that owns it; null while it waits and after its end. */
  readonly owner: string | null;
  /** True once a cancel was asked for, also after the end. */
  readonly cancelling: boolean;
  /** The build that superseded it; null for most. */
  readonly supersededBy: string | null;
  /** True when that build is of another request, or may be. */
  readonly conflicting: boolean;
  /** Digest of its request; null for a build that was submitted by a version without digests. */
  readonly requestDigest: string | null;
  /** Its request, as far as it may be remembered; null where no record so far has it. */
  readonly request: KeptRequest | null;
  /** The build whose request it repeats; null where it is no retry. */
  readonly retryOf: string | null;
  /** The operation that has submitted it; null where no record so far has it. */
  readonly trace: TraceHeaders | null;
  /** Its attempts as far as the stream has them, oldest first. */
  readonly attempts: readonly AttemptReport[];
  /** The steps of the newest attempt. */
  readonly steps: readonly StepTimes[];
  /** How the caller was notified of its end, or, before that, of its beginning. */
  readonly notified: readonly NotificationWay[];
  /** The newest lines of its log, oldest first. */
  readonly logTail: readonly string[];
}

/** The part of a build that lists are searched by. */
export type BuildRow = Pick<
  BuildView,
  'buildId' | 'ticketId' | 'caller' | 'series' | 'state' | 'queuedAt' | 'updatedAt'
>;

/** A build that the ledger changes; all others see it as a `BuildView`. */
export type Build = { -readonly [Key in keyof BuildView]: BuildView[Key] };

const maximumLogLines = 60;

/** An event's record: the event, and what stands beside it. */
export type EventRecord = Pick<Extract<StreamRecord, { kind: 'event' }>, 'event' | 'submission' | 'background'>;

/** A build as its first event in the stream describes it. The event has not been applied yet. */
export function newBuild({ event, submission, background }: EventRecord): Build {
  return {
    buildId: event.build_id,
    ticketId: event.ticket_id,
    progressTrigger: event.progress_trigger,
    caller: submission?.caller ?? anonymous.name,
    series: submission?.series ?? null,
    state: event.state,
    event,
    sequence: event.sequence,
    queuedAt: event.time,
    startedAt: null,
    updatedAt: event.time,
    finishedAt: null,
    // Where the stream begins in the middle of a build, its first record there is believed, and earlier attempts do not
    // count against it.
    attempt: event.state === 'queued' ? event.attempt : Math.max(event.attempt - 1, 0),
    handBacks: Math.max(0, event.attempt - (event.state === 'queued' && event.error === undefined ? 0 : 1)),
    owner: null,
    cancelling: false,
    supersededBy: null,
    conflicting: false,
    requestDigest: submission?.request_sha256 ?? null,
    request: background?.request ?? null,
    retryOf: submission?.retry_of ?? null,
    trace: background?.trace ?? null,
    attempts: background?.attempts ?? [],
    steps: [],
    notified: [],
    logTail: [],
  };
}

/** Applies an event to its build, which has not ended. `isFirst`: it is the build's first one in the stream. */
export function applyToBuild(build: Build, { event, background }: EventRecord, isFirst: boolean): Verdict {
  if (!(isFirst && event.state === 'queued')) {
    const isOwner = build.owner !== null && build.owner === event.worker && build.attempt === event.attempt;
    if (isOwner) {
      if (event.sequence <= build.sequence) return 'duplicate';
      if (event.state === 'queued' && event.error === undefined) build.handBacks += 1;
      build.attempts = withEvent(build.attempts, event);
    } else {
      if (event.state === 'queued' || event.attempt !== build.attempt + 1) return 'not_owner';
      build.attempt = event.attempt;
      build.owner = event.worker;
      build.startedAt ??= event.time;
      build.attempts = withBegun(build.attempts, event, build.updatedAt);
      build.steps = [];
    }
  }
  build.event = event;
  build.state = event.state;
  build.sequence = event.sequence;
  build.updatedAt = event.time;
  build.request ??= background?.request ?? null;
  build.trace ??= background?.trace ?? null;
  if (event.steps !== undefined) build.steps = event.steps;
  if (event.log !== undefined) build.logTail = [...build.logTail, ...event.log].slice(-maximumLogLines);
  if (event.state !== 'running') build.owner = null;
  if (isTerminal(event.state)) build.finishedAt = event.time;
  return 'applied';
}

/** True for the newest event of the build that counted, also when it arrives once more. */
export function isNewest(event: BuildEvent, { event: newest }: BuildView): boolean {
  return event.worker === newest.worker && event.attempt === newest.attempt && event.sequence === newest.sequence;
}

/** The background for another record of a build, whose event has made no attempts but those from `attempt` on known. */
export function backgroundOf({ request, trace, attempts }: BuildView, attempt: number): Background {
  const earlier = attempts.filter((one) => one.attempt < attempt);
  return {
    ...(request === null ? {} : { request }),
    ...(trace === null ? {} : { trace }),
    ...(earlier.length === 0 ? {} : { attempts: earlier }),
  };
}

/** True when the digest is known and is that of the build's request. */
export function isSameRequest(build: Pick<BuildView, 'requestDigest'>, digest: string | null): boolean {
  return build.requestDigest !== null && build.requestDigest === digest;
}

/** The submission of a build, for records about it; undefined for a build of a version without digests. */
export function submissionOf({ caller, series, requestDigest, retryOf }: BuildView): Submission | undefined {
  if (requestDigest === null) return undefined;
  return {
    ...{ caller, request_sha256: requestDigest },
    ...(series === null ? {} : { series }),
    ...(retryOf === null ? {} : { retry_of: retryOf }),
  };
}
