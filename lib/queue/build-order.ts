import type { BuildRow } from './build.ts';

/** A place in the order of builds: by the time of submission, and by id where two have the same. */
export type BuildPlace = Pick<BuildRow, 'queuedAt' | 'buildId'>;

/** Builds in the order of their submission. */
export interface BuildOrder {
  add(build: BuildRow): void;
  /** Puts another object of the same build in the place of the one before. */
  replace(build: BuildRow): void;
  remove(build: BuildPlace): void;
  /**
   * The builds with events since `oldest` (a time), newest first; after `place` (a build that need not be there any
   * more), those before it.
   */
  newestFirst(oldest: string, place?: BuildPlace): Generator<BuildRow>;
}

export function createBuildOrder(): BuildOrder {
  /** Oldest first: new builds come to the end. */
  const rows: BuildRow[] = [];

  /** The index of the first row that is not before `place`. */
  const indexOf = (place: BuildPlace): number => {
    let [low, high] = [0, rows.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const row = rows[middle];
      if (row !== undefined && isBefore(row, place)) low = middle + 1;
      else high = middle;
    }
    return low;
  };

  return {
    add: (build) => void rows.splice(indexOf(build), 0, build),
    replace(build) {
      const index = indexOf(build);
      if (rows[index]?.buildId === build.buildId) rows[index] = build;
    },
    remove(build) {
      const index = indexOf(build);
      if (rows[index]?.buildId === build.buildId) rows.splice(index, 1);
    },
    *newestFirst(oldest, place) {
      for (let index = (place === undefined ? rows.length : indexOf(place)) - 1; index >= 0; index -= 1) {
        const row = rows[index];
        if (row !== undefined && row.updatedAt >= oldest) yield row;
      }
    },
  };
}

/** Times of the ledger are of one form (`Date.toISOString`): as texts they have the order of time. */
function isBefore(one: BuildPlace, other: BuildPlace): boolean {
  return one.queuedAt === other.queuedAt ? one.buildId < other.buildId : one.queuedAt < other.queuedAt;
}
