import { isTerminal } from '../api/event.ts';
import type { BuildCounts } from '../api/status.ts';
import {
  applyToBuild,
  type Build,
  type BuildRow,
  type BuildView,
  type EventRecord,
  isNewest,
  isSameRequest,
  type NotificationWay,
  newBuild,
  type Verdict,
} from './build.ts';
import { type BuildQuery, createBuildIndex } from './build-index.ts';
import { dropOldest } from './drop-oldest.ts';
import { createHistory } from './history.ts';
import type { StreamRecord } from './record.ts';
import { createSeenWorkers, type SeenWorker } from './seen-workers.ts';
import type { BuildPlace } from './sorted-builds.ts';
import { createSubmissionCount } from './submission-count.ts';
import { createWaitingLine } from './waiting-line.ts';

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
  /** A build, also a superseded one, and a finished one as long as there is room for it. */
  get(buildId: string): BuildView | undefined;
  /** True when a job of this build has nothing left to do: it has ended, was superseded or withdrawn. */
  isOver(buildId: string): boolean;
  /** Every known build that is neither superseded nor out of the stream by `now`, of the finished ones the newest 50. */
  builds(now: Date): BuildView[];
  /**
   * The known builds of a query that are neither superseded nor out of the stream by `now`: the newest submission first,
   * after `place` those before it. To be read at once, before the next record.
   */
  newestFirst(now: Date, query: BuildQuery, place?: BuildPlace): Iterable<BuildRow>;
  /** Of these, the builds of a caller that have ended, the newest end first; null: of any caller. To be read at once. */
  lastEnded(now: Date, caller: string | null): Iterable<BuildRow>;
  /** The number of these builds in each state; null: of any caller. */
  counts(now: Date, caller: string | null): BuildCounts;
  /** The builds that wait for a worker at `now`, by id, in the order in which they began to wait. */
  waiting(now: Date): ReadonlyMap<string, BuildView>;
  /** The place of a build among those that wait, beginning with 1; undefined where it does not wait. */
  placeInQueue(buildId: string, now: Date): number | undefined;
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
  /** Memory for finished builds, beside the newest 50. The oldest are dropped for those that come. */
  readonly historyBytes: number;
}

/** Finished builds that are at hand as they are, for `status` and for records that follow their ends. */
const maximumRecent = 50;
const maximumIds = 10_000;

export function createLedger(options: LedgerOptions): Ledger {
  const builds = new Map<string, Build>();
  /** Unfinished builds by their request. */
  const byRequest = new Map<string, Build>();
  /** Ids of the newest finished builds, oldest first. They are in `builds`, all others in `history`. */
  const recent = new Set<string>();
  const history = createHistory(options.historyBytes);
  /** Ids of withdrawn builds, and of finished ones that were dropped: late events must not revive them. */
  const closed = new Set<string>();
  const index = createBuildIndex();
  const waiting = createWaitingLine();
  const superseded = new Map<string, Build>();
  const submissions = createSubmissionCount();
  const workers = createSeenWorkers();

  /** The time of the oldest event that the stream may have by `now`. Times as texts have the order of time. */
  const oldestAt = (now: Date) =>
    new Date(Math.max(0, now.getTime() - options.forgetAfterSeconds * 1000)).toISOString();
  const expired = (build: BuildRow, now: Date) => build.updatedAt < oldestAt(now);
  const indexAt = (now: Date) => {
    index.expire(oldestAt(now));
    return index;
  };
  const waitingAt = (now: Date) => {
    waiting.expire(oldestAt(now));
    return waiting;
  };
  const isFinished = (buildId: string) => recent.has(buildId) || history.has(buildId) || closed.has(buildId);

  const supersede = (build: Build, rival: Build): Build => ({
    ...build,
    // Thousands of such builds are remembered, and nobody sees their requests.
    request: null,
    supersededBy: rival.buildId,
    conflicting: !isSameRequest(rival, build.requestDigest),
  });

  const register = (record: EventRecord): Build | undefined => {
    const { event } = record;
    const build = newBuild(record);
    const key = requestKey(build);
    const rival = byRequest.get(key);
    if (rival !== undefined && !expired(rival, new Date(event.time))) {
      superseded.set(event.build_id, supersede(build, rival));
      dropOldest(superseded, maximumIds);
      return undefined;
    }
    if (rival !== undefined) forget(rival);
    builds.set(build.buildId, build);
    index.add(build);
    byRequest.set(key, build);
    submissions.add(build.caller, build.buildId, build.queuedAt);
    return build;
  };

  /** Forgets a build that has not ended. */
  const forget = (build: Build) => {
    builds.delete(build.buildId);
    index.remove(build);
    waiting.remove(build.buildId);
  };

  const close = (buildId: string) => {
    closed.add(buildId);
    dropOldest(closed, maximumIds);
  };

  const finish = (build: Build) => {
    byRequest.delete(requestKey(build));
    // Moves it to the end of the map: finished builds are kept in the order in which they finished.
    builds.delete(build.buildId);
    builds.set(build.buildId, build);
    recent.add(build.buildId);
    const [oldest] = recent;
    const old = recent.size > maximumRecent && oldest !== undefined ? builds.get(oldest) : undefined;
    if (old === undefined) return;
    recent.delete(old.buildId);
    builds.delete(old.buildId);
    index.replace(history.put(old));
    for (const dropped of history.trim(oldestAt(new Date(build.updatedAt)))) {
      index.remove(dropped);
      close(dropped.buildId);
    }
  };

  const applyEvent = (record: EventRecord): Verdict => {
    const { event } = record;
    if (superseded.has(event.build_id)) return 'superseded';
    const known = builds.get(event.build_id);
    if (isFinished(event.build_id)) {
      const ended = known ?? history.get(event.build_id);
      return ended !== undefined && isNewest(event, ended) ? 'duplicate' : 'finished';
    }
    const build = known ?? register(record);
    if (build === undefined) return 'superseded';
    const verdict = index.change(build, () => applyToBuild(build, record, known === undefined));
    if (verdict !== 'applied') return verdict;
    workers.note(event);
    waiting.remove(build.buildId);
    if (event.state === 'queued') waiting.add(build);
    if (isTerminal(event.state)) finish(build);
    return verdict;
  };

  const applyCancel = (buildId: string): Verdict => {
    if (superseded.has(buildId)) return 'superseded';
    if (isFinished(buildId)) return 'finished';
    const build = builds.get(buildId);
    if (build === undefined) return 'unknown';
    if (build.cancelling) return 'duplicate';
    build.cancelling = true;
    return 'applied';
  };

  const applyWithdrawn = (buildId: string): Verdict => {
    const build = builds.get(buildId);
    if (superseded.has(buildId) || isFinished(buildId) || (build?.attempt ?? 0) > 0) return applyCancel(buildId);
    // Another submission was answered with this build's id.
    const isWinner = ({ supersededBy, conflicting }: Build) => supersededBy === buildId && !conflicting;
    if ([...superseded.values()].some(isWinner)) return 'duplicate';
    if (build !== undefined) {
      forget(build);
      byRequest.delete(requestKey(build));
      submissions.remove(build.caller, buildId);
    }
    close(buildId);
    return 'applied';
  };

  const applyNotified = (buildId: string, way: NotificationWay): Verdict => {
    const build = builds.get(buildId);
    const known = build ?? history.get(buildId);
    if (known === undefined) return 'unknown';
    if (known.notified.includes(way)) return 'duplicate';
    const notified = [...known.notified, way];
    if (build === undefined) index.replace(history.put({ ...known, notified }));
    else build.notified = notified;
    return 'applied';
  };

  return {
    apply(record) {
      switch (record.kind) {
        case 'event':
          return applyEvent(record);
        case 'cancel':
          return applyCancel(record.build_id);
        case 'withdrawn':
          return applyWithdrawn(record.build_id);
        case 'told':
          return applyNotified(record.build_id, record.way);
        case 'worker':
          workers.noteRecord(record);
          return 'applied';
        case 'marker':
          return 'applied';
      }
    },
    get: (buildId) => builds.get(buildId) ?? history.get(buildId) ?? superseded.get(buildId),
    isOver: (buildId) => superseded.has(buildId) || isFinished(buildId),
    builds(now) {
      const oldest = oldestAt(now);
      return [...builds.values()].filter(({ updatedAt }) => updatedAt >= oldest);
    },
    newestFirst: (now, query, place) => indexAt(now).newestFirst(query, place),
    lastEnded: (now, caller) => indexAt(now).lastEnded(caller),
    counts: (now, caller) => indexAt(now).counts(caller),
    waiting: (now) => waitingAt(now).builds,
    placeInQueue: (buildId, now) => waitingAt(now).placeOf(buildId),
    unfinished(key, now) {
      const build = byRequest.get(requestKey(key));
      return build === undefined || expired(build, now) ? undefined : build;
    },
    usage(caller, now) {
      const { queued, running } = indexAt(now).counts(caller);
      return {
        unfinished: queued + running,
        submittedAtMs: submissions.withinHour(caller, now),
      };
    },
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
