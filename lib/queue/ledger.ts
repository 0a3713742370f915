import { type BuildEvent, type BuildState, type GuestReport, isTerminal } from '../api/event.ts';
import { anonymous } from '../callers.ts';
import type { StreamRecord } from './record.ts';
import type { Submission } from './submission.ts';
import { createSubmissionCount } from './submission-count.ts';

/** A way in which a caller is notified of the end of a build; `queued`: it was notified of the beginning. */
export type NotificationWay = Extract<StreamRecord, { kind: 'told' }>['way'];

/**
 * The ledger of builds: the meaning of the events stream, as a function of its records in order. Every replica reads
 * the same records in the same order, so all agree: on which of two equal requests is built, on which worker owns a
 * build, on how it ended.
 *
 * - The first record of a build registers it. When its (caller, ticket_id, progress_trigger) belongs to an unfinished
 *   build at that point, it is superseded by that one: never shown, never built. When the two requests differ, it
 *   conflicts with that one as well.
 * - An event with the next attempt claims the build for its worker; the first in the stream wins. From then on events
 *   of any other (worker, attempt) count for nothing, whatever their sender believes.
 * - A `queued` event of the owner hands the build back; with an error in it, the attempt counts as a lost one.
 * - The first terminal event ends the build; nothing after it counts.
 * - A withdrawn submission is never built; where a worker has it already, it is cancelled.
 */

/** The effect of a record. Only an `applied` one has changed anything. */
export type Verdict = 'applied' | 'duplicate' | 'not_owner' | 'superseded' | 'finished' | 'unknown';

/** A build by the records so far. Times are those of the events. */
export interface BuildView {
  readonly buildId: string;
  readonly ticketId: string | number;
  readonly progressTrigger: string;
  /** Name of the caller that submitted it. */
  readonly caller: string;
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
  /** How the caller was notified of its end, or, before that, of its beginning. */
  readonly notified: readonly NotificationWay[];
  /** The newest lines of its log, oldest first. */
  readonly logTail: readonly string[];
}

/** A worker by its events. */
export interface SeenWorker {
  readonly name: string;
  readonly lastSeenAt: string;
  /** How it opens images; null while it has not reported that. */
  readonly guest: GuestReport | null;
}

export interface Ledger {
  /** Takes the next record of the stream. */
  apply(record: StreamRecord): Verdict;
  /** A build, also a superseded one. */
  get(buildId: string): BuildView | undefined;
  /** True when a job of this build has nothing left to do: it has ended, was superseded or withdrawn. */
  isOver(buildId: string): boolean;
  /** Every known build that is neither superseded nor out of the stream by `now`, of the finished ones the newest 200. */
  builds(now: Date): BuildView[];
  /**
   * The unfinished build that a new submission of this request at `now` would find. Ticket ids 1 and "1" are the same.
   */
  unfinished(key: RequestKey, now: Date): BuildView | undefined;
  /** Counts the caller's unfinished builds and its recent submissions. */
  usage(caller: string, now: Date): Usage;
  /** True while this worker's attempt is the one that counts: a worker for which it turns false must stop at once. */
  owns(buildId: string, worker: string, attempt: number): boolean;
  /** Workers with events in the stream, the newest first. */
  workers(): SeenWorker[];
}

/** The key of a request until its build has ended. */
export type RequestKey = Pick<BuildView, 'caller' | 'ticketId' | 'progressTrigger'>;

export interface Usage {
  /** Queued and running builds. */
  readonly unfinished: number;
  /** Times of its submissions within the last hour, oldest first; milliseconds since the epoch. */
  readonly submittedAtMs: readonly number[];
}

export interface LedgerOptions {
  /**
   * Age of the newest event at which an unfinished build counts as fallen out of the stream, its job lost: the same
   * request then starts a new one.
   */
  readonly forgetAfterSeconds: number;
}

const maximumFinished = 200;
const maximumIds = 10_000;
const maximumWorkers = 200;
const maximumLogLines = 60;

type Writable<Type> = { -readonly [Key in keyof Type]: Type[Key] };
type State = Writable<BuildView>;

export function createLedger(options: LedgerOptions): Ledger {
  const builds = new Map<string, State>();
  /** Unfinished builds by their request. */
  const byRequest = new Map<string, State>();
  /** Ids of finished builds, oldest first, also of those whose details are dropped: late events must not revive them. */
  const finished = new Set<string>();
  /** Ids of finished builds whose details are kept. */
  const detailed = new Set<string>();
  const superseded = new Map<string, State>();
  const submissions = createSubmissionCount();
  const workers = new Map<string, SeenWorker>();

  const expired = (build: State, now: Date) =>
    now.getTime() - Date.parse(build.updatedAt) > options.forgetAfterSeconds * 1000;

  const newState = (event: BuildEvent, submission: Submission | undefined): State => ({
    buildId: event.build_id,
    ticketId: event.ticket_id,
    progressTrigger: event.progress_trigger,
    caller: submission?.caller ?? anonymous.name,
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
    notified: [],
    logTail: [],
  });

  const supersede = (build: State, rival: State): State => ({
    ...build,
    supersededBy: rival.buildId,
    conflicting: !isSameRequest(rival, build.requestDigest),
  });

  const register = (event: BuildEvent, submission: Submission | undefined): State | undefined => {
    const build = newState(event, submission);
    const key = requestKey(build);
    const rival = byRequest.get(key);
    if (rival !== undefined && !expired(rival, new Date(event.time))) {
      superseded.set(event.build_id, supersede(build, rival));
      trim(superseded, maximumIds);
      return undefined;
    }
    if (rival !== undefined) builds.delete(rival.buildId);
    builds.set(build.buildId, build);
    byRequest.set(key, build);
    submissions.add(build.caller, build.buildId, build.queuedAt);
    return build;
  };

  const accept = (build: State, event: BuildEvent) => {
    build.event = event;
    build.state = event.state;
    build.sequence = event.sequence;
    build.updatedAt = event.time;
    if (event.log !== undefined) build.logTail = [...build.logTail, ...event.log].slice(-maximumLogLines);
    if (event.worker !== null) {
      const guest = event.guest ?? workers.get(event.worker)?.guest ?? null;
      workers.delete(event.worker);
      workers.set(event.worker, { name: event.worker, lastSeenAt: event.time, guest });
      trim(workers, maximumWorkers);
    }
    if (event.state !== 'running') build.owner = null;
    if (isTerminal(event.state)) finish(build, event);
  };

  const close = (buildId: string) => {
    finished.add(buildId);
    trim(finished, maximumIds);
  };

  const finish = (build: State, event: BuildEvent) => {
    build.finishedAt = event.time;
    byRequest.delete(requestKey(build));
    // Moves it to the end of the map: finished builds are kept in the order in which they finished.
    builds.delete(build.buildId);
    builds.set(build.buildId, build);
    close(build.buildId);
    detailed.add(build.buildId);
    const [oldest] = detailed;
    if (detailed.size <= maximumFinished || oldest === undefined) return;
    detailed.delete(oldest);
    builds.delete(oldest);
  };

  const applyEvent = (event: BuildEvent, submission: Submission | undefined): Verdict => {
    if (superseded.has(event.build_id)) return 'superseded';
    const known = builds.get(event.build_id);
    if (finished.has(event.build_id)) {
      return known !== undefined && sameEvent(known.event, event) ? 'duplicate' : 'finished';
    }
    const build = known ?? register(event, submission);
    if (build === undefined) return 'superseded';
    if (event.state === 'queued' && known === undefined) {
      accept(build, event);
      return 'applied';
    }
    const owns = build.owner !== null && build.owner === event.worker && build.attempt === event.attempt;
    if (owns) {
      if (event.sequence <= build.sequence) return 'duplicate';
      if (event.state === 'queued' && event.error === undefined) build.handBacks += 1;
      accept(build, event);
      return 'applied';
    }
    if (event.state === 'queued' || event.attempt !== build.attempt + 1) return 'not_owner';
    build.attempt = event.attempt;
    build.owner = event.worker;
    build.startedAt ??= event.time;
    accept(build, event);
    return 'applied';
  };

  const applyCancel = (buildId: string): Verdict => {
    if (superseded.has(buildId)) return 'superseded';
    if (finished.has(buildId)) return 'finished';
    const build = builds.get(buildId);
    if (build === undefined) return 'unknown';
    if (build.cancelling) return 'duplicate';
    build.cancelling = true;
    return 'applied';
  };

  const applyWithdrawn = (buildId: string): Verdict => {
    const build = builds.get(buildId);
    if (superseded.has(buildId) || finished.has(buildId) || (build?.attempt ?? 0) > 0) return applyCancel(buildId);
    // Another submission was answered with this build's id.
    const isWinner = ({ supersededBy, conflicting }: State) => supersededBy === buildId && !conflicting;
    if ([...superseded.values()].some(isWinner)) return 'duplicate';
    if (build !== undefined) {
      builds.delete(buildId);
      byRequest.delete(requestKey(build));
      submissions.remove(build.caller, buildId);
    }
    close(buildId);
    return 'applied';
  };

  const applyNotified = (buildId: string, way: NotificationWay): Verdict => {
    const build = builds.get(buildId);
    if (build === undefined) return 'unknown';
    if (build.notified.includes(way)) return 'duplicate';
    build.notified = [...build.notified, way];
    return 'applied';
  };

  return {
    apply(record) {
      switch (record.kind) {
        case 'event':
          return applyEvent(record.event, record.submission);
        case 'cancel':
          return applyCancel(record.build_id);
        case 'withdrawn':
          return applyWithdrawn(record.build_id);
        case 'told':
          return applyNotified(record.build_id, record.way);
        case 'marker':
          return 'applied';
      }
    },
    get: (buildId) => builds.get(buildId) ?? superseded.get(buildId),
    isOver: (buildId) => superseded.has(buildId) || finished.has(buildId),
    builds: (now) => [...builds.values()].filter((build) => !expired(build, now)),
    unfinished(key, now) {
      const build = byRequest.get(requestKey(key));
      return build === undefined || expired(build, now) ? undefined : build;
    },
    usage: (caller, now) => ({
      unfinished: [...byRequest.values()].filter((build) => build.caller === caller && !expired(build, now)).length,
      submittedAtMs: submissions.withinHour(caller, now),
    }),
    owns(buildId, worker, attempt) {
      const build = builds.get(buildId);
      return build?.owner === worker && build.attempt === attempt;
    },
    workers: () => [...workers.values()].reverse(),
  };
}

function sameEvent(one: BuildEvent, other: BuildEvent): boolean {
  return one.worker === other.worker && one.attempt === other.attempt && one.sequence === other.sequence;
}

/** True when the digest is known and is that of the build's request. */
export function isSameRequest(build: Pick<BuildView, 'requestDigest'>, digest: string | null): boolean {
  return build.requestDigest !== null && build.requestDigest === digest;
}

/** Neither names of callers nor progress triggers hold a blank. */
function requestKey({ caller, ticketId, progressTrigger }: RequestKey): string {
  return `${caller} ${progressTrigger} ${ticketId}`;
}

/** Drops the oldest entries beyond `maximum`. */
function trim(entries: Map<string, unknown> | Set<string>, maximum: number): void {
  for (const key of entries.keys()) {
    if (entries.size <= maximum) return;
    entries.delete(key);
  }
}
