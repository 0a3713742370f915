import { isTerminal } from '../api/event.ts';
import type { BuildCounts, BuildStatus, Status } from '../api/status.ts';
import type { BuildRow, BuildView } from './build.ts';
import type { Ledger } from './ledger.ts';
import { isLiving } from './seen-workers.ts';
import { noBuilds, placesOf, takeWithin, toBuildStatus } from './status.ts';

/** The builds and workers of a ledger as `status` shows them: small, however many builds there are. */
export type Overview = Pick<Status, 'counts' | 'running' | 'queued' | 'finished' | 'workers' | 'workers_gone'>;

export interface OverviewOptions {
  /** True for builds that the caller may know of. */
  readonly visible: (build: BuildRow) => boolean;
  /** Narrows the counts and the lists of builds. */
  readonly filter: (build: BuildRow) => boolean;
}

/** Builds in each of the lists `queued` and `finished`. */
const newest = 20;
const maximumFinishedBytes = 64 * 1024;

/** The builds that an overview shows: right until a record changes something, or a build falls out of the stream. */
export interface Selection {
  readonly counts: Readonly<BuildCounts>;
  /** All running builds that are visible, also those that the filter leaves out. */
  readonly running: readonly BuildView[];
  /** Running builds that are shown, in the order of their submission. */
  readonly shown: readonly BuildView[];
  readonly queued: readonly BuildRow[];
  readonly finished: readonly BuildRow[];
}

type Read = Pick<Ledger, 'get' | 'newestFirst' | 'waiting' | 'workers'>;

export function overviewOf(ledger: Read, now: Date, options: OverviewOptions): Overview {
  return renderOverview(ledger, now, selectBuilds(ledger, now, options));
}

/** Looks at every build, which takes milliseconds for thousands of them. */
export function selectBuilds(
  ledger: Pick<Read, 'get' | 'newestFirst'>,
  now: Date,
  { visible, filter }: OverviewOptions,
): Selection {
  const counts = { ...noBuilds };
  const running: BuildView[] = [];
  const shown: BuildView[] = [];
  const queued: BuildRow[] = [];
  const finished: BuildRow[] = [];
  for (const row of ledger.newestFirst(now)) {
    if (!visible(row)) continue;
    const build = row.state === 'running' ? ledger.get(row.buildId) : undefined;
    if (build !== undefined) running.push(build);
    if (!filter(row)) continue;
    counts[row.state] += 1;
    if (build !== undefined) shown.push(build);
    else if (isTerminal(row.state)) keepNewest(finished, row);
    else if (queued.length < newest) queued.push(row);
  }
  return { counts, running, shown: shown.reverse(), queued: queued.reverse(), finished };
}

/** Shows selected builds with their times at `now`. */
export function renderOverview(
  ledger: Pick<Read, 'get' | 'waiting' | 'workers'>,
  now: Date,
  { counts, running, shown, queued, finished }: Selection,
): Overview {
  const statuses = statusesOf(ledger, now);
  const workers = ledger.workers();
  const living = workers.filter((worker) => isLiving(worker, now));
  return {
    counts,
    running: shown.map((build) => toBuildStatus(build, now)),
    queued: [...statuses(queued)],
    finished: takeWithin(statuses(finished), maximumFinishedBytes),
    workers: living.map(({ name, lastSeenAt, guest, unable }) => ({
      name,
      last_seen: lastSeenAt,
      builds: running.filter((build) => build.owner === name).map((build) => build.buildId),
      ...(guest === null ? {} : { guest }),
      ...(unable === null ? {} : { unable }),
    })),
    workers_gone: workers.length - living.length,
  };
}

/** Reads the builds of rows, one by one, as they are asked for. */
export function statusesOf(ledger: Pick<Ledger, 'get' | 'waiting'>, now: Date) {
  return function* (rows: readonly BuildRow[]): Generator<BuildStatus> {
    const ids = rows.filter(({ state }) => state === 'queued').map(({ buildId }) => buildId);
    const places = ids.length === 0 ? new Map<string, number>() : placesOf(ledger.waiting(now), ids);
    for (const { buildId } of rows) {
      const build = ledger.get(buildId);
      if (build !== undefined) yield toBuildStatus(build, now, { place: places.get(buildId) });
    }
  };
}

/** Keeps the builds that ended last, the newest first. */
function keepNewest(rows: BuildRow[], row: BuildRow): void {
  // Most rows end here, of thousands.
  const last = rows[newest - 1];
  if (last !== undefined && row.updatedAt <= last.updatedAt) return;
  const after = rows.findIndex(({ updatedAt }) => updatedAt < row.updatedAt);
  if (after !== -1) rows.splice(after, 0, row);
  else if (rows.length < newest) rows.push(row);
  if (rows.length > newest) rows.pop();
}
