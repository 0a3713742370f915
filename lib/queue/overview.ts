import { isTerminal } from '../api/event.ts';
import type { BuildCounts, BuildStatus, Status } from '../api/status.ts';
import type { BuildRow } from './build.ts';
import type { Ledger } from './ledger.ts';
import { isLiving } from './seen-workers.ts';
import { noBuilds, takeWithin, toBuildStatus } from './status.ts';

/** The builds and workers of a ledger as `status` shows them: small, however many builds there are. */
export type Overview = Pick<Status, 'counts' | 'running' | 'queued' | 'finished' | 'workers' | 'workers_gone'>;

export interface OverviewOptions {
  /** The caller whose builds are shown; null: those of all. */
  readonly caller: string | null;
  /** Narrows the counts and the lists of builds to those of a ticket, which is given as text. */
  readonly ticketId?: string | undefined;
}

/** Builds in each of the lists `queued` and `finished`. */
const newest = 20;
const maximumFinishedBytes = 64 * 1024;

/** The builds that an overview shows. */
interface Selection {
  readonly counts: Readonly<BuildCounts>;
  /** Running builds, in the order of their submission. */
  readonly running: readonly BuildRow[];
  /** In the order of their submission. */
  readonly queued: readonly BuildRow[];
  /** The newest end first. */
  readonly finished: readonly BuildRow[];
}

type Read = Pick<Ledger, 'get' | 'newestFirst' | 'lastEnded' | 'counts' | 'placeInQueue' | 'workers'>;

/** Its cost grows with the running builds, and with those of the ticket, and not with all others. */
export function overviewOf(ledger: Read, now: Date, options: OverviewOptions): Overview {
  const { caller, ticketId } = options;
  const running = [...ledger.newestFirst(now, { caller, state: 'running' })];
  const selected = ticketId === undefined ? newestOf(ledger, now, caller, running) : ofTicket(ledger, now, options);
  const statuses = statusesOf(ledger, now);
  const workers = ledger.workers();
  const living = workers.filter((worker) => isLiving(worker, now));
  const owners = running.map(({ buildId }) => ({ buildId, owner: ledger.get(buildId)?.owner }));
  return {
    counts: selected.counts,
    running: [...statuses(selected.running)],
    queued: [...statuses(selected.queued)],
    finished: takeWithin(statuses(selected.finished), maximumFinishedBytes),
    workers: living.map(({ name, lastSeenAt, guest, unable }) => ({
      name,
      last_seen: lastSeenAt,
      builds: owners.filter(({ owner }) => owner === name).map(({ buildId }) => buildId),
      ...(guest === null ? {} : { guest }),
      ...(unable === null ? {} : { unable }),
    })),
    workers_gone: workers.length - living.length,
  };
}

function newestOf(ledger: Read, now: Date, caller: string | null, running: readonly BuildRow[]): Selection {
  return {
    counts: ledger.counts(now, caller),
    running: running.toReversed(),
    queued: take(ledger.newestFirst(now, { caller, state: 'queued' }), newest).reverse(),
    finished: take(ledger.lastEnded(now, caller), newest),
  };
}

function ofTicket(ledger: Read, now: Date, options: OverviewOptions): Selection {
  const rows = [...ledger.newestFirst(now, options)];
  const counts = { ...noBuilds };
  for (const { state } of rows) counts[state] += 1;
  const ended = rows.filter(({ state }) => isTerminal(state));
  return {
    counts,
    running: rows.filter(({ state }) => state === 'running').reverse(),
    queued: rows
      .filter(({ state }) => state === 'queued')
      .slice(0, newest)
      .reverse(),
    finished: ended.sort((one, other) => (one.updatedAt < other.updatedAt ? 1 : -1)).slice(0, newest),
  };
}

function take(rows: Iterable<BuildRow>, count: number): BuildRow[] {
  const taken: BuildRow[] = [];
  for (const row of rows) {
    taken.push(row);
    if (taken.length === count) break;
  }
  return taken;
}

/** Reads the builds of rows, one by one, as they are asked for. */
export function statusesOf(ledger: Pick<Ledger, 'get' | 'placeInQueue'>, now: Date) {
  return function* (rows: readonly BuildRow[]): Generator<BuildStatus> {
    for (const { buildId } of rows) {
      const build = ledger.get(buildId);
      if (build !== undefined) yield toBuildStatus(build, now, { place: ledger.placeInQueue(buildId, now) });
    }
  };
}
