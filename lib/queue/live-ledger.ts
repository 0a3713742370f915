import { within } from '../async.ts';
import { ImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { BuildView, Verdict } from './build.ts';
import type { BrokerConnection } from './connection.ts';
import type { Ledger } from './ledger.ts';
import type { StreamRecord } from './record.ts';

/**
 * The ledger of the events stream, read from its beginning and followed. It always answers; `caughtUp` says how well.
 */
export interface LiveLedger extends Omit<Ledger, 'apply'> {
  /** True while everything has been read that was in the stream when the newest connection was made. */
  readonly caughtUp: boolean;
  /** Changes with every record that has changed something. */
  readonly version: number;
  /** Resolves when `caughtUp`; costs nothing while it is. Throws `broker.unreachable`. */
  ready(patienceMs?: number): Promise<void>;
  /**
   * Resolves when everything that is in the stream now has been read. Throws `broker.unreachable`. Appends a record, so
   * no call from outside may end here: with enough of them, anybody could push all builds out of the stream.
   */
  sync(patienceMs?: number): Promise<void>;
  /**
   * Finds the build, if it is as wanted. Waits a moment for an unknown build, because its caller may be faster than the
   * stream. Waits as long for a build that is not as wanted, so that a caller cannot tell the two apart.
   */
  find(buildId: string, wanted: (build: BuildView) => boolean): Promise<BuildView | undefined>;
  /**
   * Milliseconds in which nothing was heard of the build although this process was listening. Measured by its own
   * clock, and without the time in which RabbitMQ was away: other clocks differ, and workers could not be heard then.
   */
  quietMs(buildId: string): number;
  /** Resolves with the build as soon as it is known to be as wanted, or with undefined when patience is over. */
  when(buildId: string, wanted: (build: BuildView) => boolean, patienceMs: number): Promise<BuildView | undefined>;
  /** Calls the listener after every record that has changed the build. Returns the function that ends that. */
  onChange(buildId: string, listener: (build: BuildView) => void): () => void;
}

/** The side of a live ledger that only the follower of the stream uses. */
export interface FedLedger extends LiveLedger {
  /** Takes the next record of the stream. */
  take(record: StreamRecord): Verdict;
  /** Forgets everything: the stream is another one. */
  forget(): void;
  /** Ends the waiting for `ready`. */
  noteCaughtUp(): void;
}

export interface LiveLedgerOptions {
  readonly connection: Pick<BrokerConnection, 'reachable' | 'usableSince'>;
  readonly newLedger: () => Ledger;
  /** Since when the reader of the stream has caught up, milliseconds since the epoch; null while it has not. */
  readonly caughtUpSince: () => number | null;
  /** Why the stream cannot be read although RabbitMQ can be reached; null where it can. */
  readonly lacking: () => string | null;
  readonly sync: (patienceMs: number) => Promise<unknown>;
  readonly log: Log;
}

/** Reading the whole past takes some 150 µs per event. */
const readyPatienceMs = 20_000;
const syncPatienceMs = 6_000;
/** A record comes back through the stream within milliseconds. */
const appearanceMs = 1_000;

export function createLiveLedger(options: LiveLedgerOptions): FedLedger {
  const { connection, newLedger, caughtUpSince, log } = options;
  const listeners = new Map<string, Set<(build: BuildView) => void>>();
  const readyWaiters = new Set<() => void>();
  /** When the newest event of each unfinished build came in. */
  const heardAt = new Map<string, number>();
  let ledger = newLedger();
  let version = 0;

  const live: FedLedger = {
    take(record) {
      const verdict = ledger.apply(record);
      if (verdict !== 'applied' || record.kind === 'marker') return verdict;
      version += 1;
      if (record.kind === 'worker') return verdict;
      const buildId = record.kind === 'event' ? record.event.build_id : record.build_id;
      const build = ledger.get(buildId);
      if (ledger.isOver(buildId)) heardAt.delete(buildId);
      else if (record.kind === 'event') heardAt.set(buildId, Date.now());
      if (build === undefined) return verdict;
      for (const listener of listeners.get(buildId) ?? []) {
        try {
          listener(build);
        } catch (error) {
          log.error('a listener for events threw', { error });
        }
      }
      return verdict;
    },
    forget() {
      ledger = newLedger();
      version += 1;
      heardAt.clear();
    },
    noteCaughtUp() {
      for (const resolve of readyWaiters) resolve();
      readyWaiters.clear();
    },
    get: (buildId) => ledger.get(buildId),
    isOver: (buildId) => ledger.isOver(buildId),
    builds: (now) => ledger.builds(now),
    newestFirst: (now, query, place) => ledger.newestFirst(now, query, place),
    lastEnded: (now, caller) => ledger.lastEnded(now, caller),
    counts: (now, caller) => ledger.counts(now, caller),
    waiting: (now) => ledger.waiting(now),
    placeInQueue: (buildId, now) => ledger.placeInQueue(buildId, now),
    get version() {
      return version;
    },
    unfinished: (key, now) => ledger.unfinished(key, now),
    usage: (caller, now) => ledger.usage(caller, now),
    owns: (buildId, worker, attempt) => ledger.owns(buildId, worker, attempt),
    workers: () => ledger.workers(),
    get caughtUp() {
      return caughtUpSince() !== null;
    },
    async ready(patienceMs = readyPatienceMs) {
      if (live.caughtUp) return;
      const done = new Promise<void>((resolve) => readyWaiters.add(resolve));
      try {
        await within(done, patienceMs);
      } catch {
        const { reachable, message } = connection.reachable();
        throw unreadable(reachable ? (options.lacking() ?? 'the events in RabbitMQ are still being read') : message);
      }
    },
    async sync(patienceMs = syncPatienceMs) {
      await options.sync(patienceMs);
    },
    find: (buildId, wanted) => live.when(buildId, wanted, appearanceMs),
    quietMs(buildId) {
      const { usableSince } = connection;
      const since = caughtUpSince();
      if (since === null || usableSince === null) return 0;
      return Date.now() - Math.max(usableSince, since, heardAt.get(buildId) ?? 0);
    },
    async when(buildId, wanted, patienceMs) {
      const known = ledger.get(buildId);
      if (known !== undefined && wanted(known)) return known;
      const come = Promise.withResolvers<BuildView>();
      const unfollow = live.onChange(buildId, (build) => wanted(build) && come.resolve(build));
      const build = await within(come.promise, patienceMs).catch(() => undefined);
      unfollow();
      return build;
    },
    onChange(buildId, listener) {
      const ofBuild = listeners.get(buildId) ?? new Set();
      listeners.set(buildId, ofBuild.add(listener));
      return () => {
        ofBuild.delete(listener);
        if (ofBuild.size === 0) listeners.delete(buildId);
      };
    },
  };
  return live;
}

/** The error of a call that needs the events of the stream and cannot have them now. */
export function unreadable(message = 'RabbitMQ is out of reach'): ImageBuilderError {
  return new ImageBuilderError('broker.unreachable', message, { retryAfterSeconds: 5 });
}
