import { type BuildState, isTerminal } from '../api/event.ts';
import type { BuildCounts } from '../api/status.ts';
import type { BuildRow } from './build.ts';
import { type BuildPlace, countBefore, countOlder, putAt, removeAt, type SortedBuilds } from './sorted-builds.ts';

/** The builds that are asked for; a build must match all that is given. */
export interface BuildQuery {
  /** The caller who has submitted it; null: any. */
  readonly caller: string | null;
  readonly state?: BuildState | undefined;
  /** As text. */
  readonly ticketId?: string | undefined;
  readonly series?: string | undefined;
}

/** Finds builds by what callers ask for, without a look at all of them. */
export interface BuildIndex {
  add(build: BuildRow): void;
  /** Runs an action that changes state and time of a build. Adds a build that it does not have. */
  change<Result>(build: BuildRow, action: () => Result): Result;
  /** Puts another object of the same build in the place of the one before. */
  replace(build: BuildRow): void;
  remove(build: BuildRow): void;
  /** Removes the builds without an event since `oldest` (a time). */
  expire(oldest: string): void;
  /** The builds of a query, the newest submission first; after `place` (a build that need not be there), those before it. */
  newestFirst(query: BuildQuery, place?: BuildPlace): Generator<BuildRow>;
  /** The builds that have ended, the newest end first. `caller`: who has submitted them; null: any. */
  lastEnded(caller: string | null): Generator<BuildRow>;
  counts(caller: string | null): BuildCounts;
}

/** Builds of one caller, or of all. `ended` is in the order of their ends, the others in that of submissions. */
interface Group extends Readonly<Record<BuildState | 'all' | 'ended', SortedBuilds>> {}

const newGroup = (): Group => ({
  ...{ all: [], ended: [] },
  ...{ queued: [], running: [], completed: [], failed: [], cancelled: [] },
});
const nothing = newGroup();

export function createBuildIndex(): BuildIndex {
  const everybody = newGroup();
  const byCaller = new Map<string, Group>();
  const byTicket = new Map<string, SortedBuilds>();
  const bySeries = new Map<string, SortedBuilds>();
  /** In the order of their newest events. */
  const byAge: SortedBuilds = [];

  const groupsOf = ({ caller }: BuildRow): readonly Group[] => [everybody, madeOnce(byCaller, caller, newGroup)];

  /** The lists in the order of submissions that have the build whatever its state. */
  const listsOf = (build: BuildRow): readonly SortedBuilds[] => [
    ...groupsOf(build).map(({ all }) => all),
    // Most tickets have one build: a list that begins with it takes less memory than one that grows.
    madeOnce(byTicket, String(build.ticketId), () => [build]),
    ...(build.series === null ? [] : [madeOnce(bySeries, build.series, () => [])]),
  ];

  const putByState = (build: BuildRow): void => {
    for (const group of groupsOf(build)) {
      const ofState = group[build.state];
      putAt(ofState, countBefore(ofState, build), build);
      if (isTerminal(build.state)) putAt(group.ended, countOlder(group.ended, build), build);
    }
    putAt(byAge, countOlder(byAge, build), build);
  };

  /** False where the build is not there. */
  const removeByState = (build: BuildRow): boolean => {
    if (!removeAt(byAge, countOlder(byAge, build), build)) return false;
    for (const group of [everybody, byCaller.get(build.caller) ?? nothing]) {
      const ofState = group[build.state];
      removeAt(ofState, countBefore(ofState, build), build);
      if (isTerminal(build.state)) removeAt(group.ended, countOlder(group.ended, build), build);
    }
    return true;
  };

  const add = (build: BuildRow): void => {
    for (const list of listsOf(build)) putAt(list, countBefore(list, build), build);
    putByState(build);
  };

  const remove = (build: BuildRow): void => {
    if (!removeByState(build)) return;
    for (const list of listsOf(build)) removeAt(list, countBefore(list, build), build);
    const ticket = String(build.ticketId);
    if (byTicket.get(ticket)?.length === 0) byTicket.delete(ticket);
    if (build.series !== null && bySeries.get(build.series)?.length === 0) bySeries.delete(build.series);
    if (byCaller.get(build.caller)?.all.length === 0) byCaller.delete(build.caller);
  };

  const groupOf = (caller: string | null): Group => (caller === null ? everybody : (byCaller.get(caller) ?? nothing));

  return {
    add,
    change(build, action) {
      const isThere = removeByState(build);
      const result = action();
      if (isThere) putByState(build);
      else add(build);
      return result;
    },
    replace(build) {
      if (byAge[countOlder(byAge, build)]?.buildId === build.buildId) add(build);
    },
    remove,
    expire(oldest) {
      for (let first = byAge[0]; first !== undefined && first.updatedAt < oldest; first = byAge[0]) remove(first);
    },
    *newestFirst(query, place) {
      const { caller, state, ticketId, series } = query;
      const lists = [
        groupOf(caller)[state ?? 'all'],
        ...(ticketId === undefined ? [] : [byTicket.get(ticketId) ?? []]),
        ...(series === undefined ? [] : [bySeries.get(series) ?? []]),
      ];
      const shortest = lists.reduce((one, other) => (other.length < one.length ? other : one));
      const end = place === undefined ? shortest.length : countBefore(shortest, place);
      for (let index = end - 1; index >= 0; index -= 1) {
        const row = shortest[index];
        if (row !== undefined && matches(row, query)) yield row;
      }
    },
    *lastEnded(caller) {
      const { ended } = groupOf(caller);
      for (let index = ended.length - 1; index >= 0; index -= 1) {
        const row = ended[index];
        if (row !== undefined) yield row;
      }
    },
    counts(caller) {
      const { queued, running, completed, failed, cancelled } = groupOf(caller);
      return {
        ...{ queued: queued.length, running: running.length },
        ...{ completed: completed.length, failed: failed.length, cancelled: cancelled.length },
      };
    },
  };
}

function matches(row: BuildRow, { caller, state, ticketId, series }: BuildQuery): boolean {
  return (
    (caller === null || row.caller === caller) &&
    (state === undefined || row.state === state) &&
    (ticketId === undefined || String(row.ticketId) === ticketId) &&
    (series === undefined || row.series === series)
  );
}

function madeOnce<Value>(values: Map<string, Value>, key: string, make: () => Value): Value {
  const known = values.get(key) ?? make();
  values.set(key, known);
  return known;
}
