import { type BuildEvent, isTerminal } from '../api/event.ts';
import {
  applyToBuild,
  type Build,
  type BuildView,
  isNewest,
  isSameRequest,
  type NotificationWay,
  newBuild,
  type Verdict,
} from './build.ts';
import { dropOldest } from './drop-oldest.ts';
import type { StreamRecord } from './record.ts';
import { createSeenWorkers, type SeenWorker } from './seen-workers.ts';
import type { Submission } from './submission.ts';
import { createSubmissionCount } from './submission-count.ts';

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

export function createLedger(options: LedgerOptions): Ledger {
  const builds = new Map<string, Build>();
  /** Unfinished builds by their request. */
  const byRequest = new Map<string, Build>();
  /** Ids of finished builds, oldest first, also of those whose details are dropped: late events must not revive them. */
  const finished = new Set<string>();
  /** Ids of finished builds whose details are kept. */
  const detailed = new Set<string>();
  const superseded = new Map<string, Build>();
  const submissions = createSubmissionCount();
  const workers = createSeenWorkers();

  const expired = (build: Build, now: Date) =>
    now.getTime() - Date.parse(build.updatedAt) > options.forgetAfterSeconds * 1000;

  const supersede = (build: Build, rival: Build): Build => ({
    ...build,
    supersededBy: rival.buildId,
    conflicting: !isSameRequest(rival, build.requestDigest),
  });

  const register = (event: BuildEvent, submission: Submission | undefined): Build | undefined => {
    const build = newBuild(event, submission);
    const key = requestKey(build);
    const rival = byRequest.get(key);
    if (rival !== undefined && !expired(rival, new Date(event.time))) {
      superseded.set(event.build_id, supersede(build, rival));
      dropOldest(superseded, maximumIds);
      return undefined;
    }
    if (rival !== undefined) builds.delete(rival.buildId);
    builds.set(build.buildId, build);
    byRequest.set(key, build);
    submissions.add(build.caller, build.buildId, build.queuedAt);
    return build;
  };

  const close = (buildId: string) => {
    finished.add(buildId);
    dropOldest(finished, maximumIds);
  };

  const finish = (build: Build) => {
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
    if (finished.has(event.build_id)) return known !== undefined && isNewest(event, known) ? 'duplicate' : 'finished';
    const build = known ?? register(event, submission);
    if (build === undefined) return 'superseded';
    const verdict = applyToBuild(build, event, known === undefined);
    if (verdict !== 'applied') return verdict;
    workers.note(event);
    if (isTerminal(event.state)) finish(build);
    return verdict;
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
    const isWinner = ({ supersededBy, conflicting }: Build) => supersededBy === buildId && !conflicting;
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
    workers: () => workers.list(),
  };
}

/** Neither names of callers nor progress triggers hold a blank. */
function requestKey({ caller, ticketId, progressTrigger }: RequestKey): string {
  return `${caller} ${progressTrigger} ${ticketId}`;
}
