import { setImmediate } from 'node:timers/promises';
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
  options: OverviewOptions,
): Selection {
  const gathered = gather(ledger, options);
  for (const row of ledger.newestFirst(now)) gathered.add(row);
  return gathered.selection();
}

/**
 * Looks at every build, some at a time, with a turn of the event loop in between. A build whose state changes meanwhile
 * counts by what it was or what it is.
 */
export async function selectInSlices(
  ledger: Pick<Read, 'get' | 'newestFirst'>,
  now: Date,
  options: OverviewOptions & { readonly rowsInSlice: number },
): Promise<Selection> {
  const gathered = gather(ledger, options);
  let last: BuildRow | undefined;
  for (;;) {
    let rows = 0;
    for (const row of ledger.newestFirst(now, last)) {
      gathered.add(row);
      last = row;
      rows += 1;
      if (rows === options.rowsInSlice) break;
    }
    if (rows < options.rowsInSlice) return gathered.selection();
    await setImmediate();
  }
}

/** Takes builds, the newest submission first. */
function gather(ledger: Pick<Read, 'get'>, { visible, filter }: OverviewOptions) {
  const counts = { ...noBuilds };
  const running: BuildView[] = [];
  const shown: BuildView[] = [];
  const queued: BuildRow[] = [];
  const finished: BuildRow[] = [];
  return {
    add(row: BuildRow): void {
      if (!visible(row)) return;
      const build = row.state === 'running' ? ledger.get(row.buildId) : undefined;
      if (build !== undefined) running.push(build);
      if (!filter(row)) return;
      counts[row.state] += 1;
      if (build !== undefined) shown.push(build);
      else if (isTerminal(row.state)) keepNewest(finished, row);
      else if (queued.length < newest) queued.push(row);
    },
    selection: (): Selection => ({
      ...{ counts, running, finished },
      ...{ shown: shown.toReversed(), queued: queued.toReversed() },
    }),
  };
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
