import type { BuildRow } from './build.ts';

/** Lists of builds that stay sorted, the oldest first. To find a build takes as many comparisons as its length has binary digits. */
export type SortedBuilds = BuildRow[];

/** A place in the order of submissions: by their time, and by id where two have the same. */
export type BuildPlace = Pick<BuildRow, 'queuedAt' | 'buildId'>;

/** The number of builds that stand before the place in the order of submissions. */
export function countBefore(rows: readonly BuildRow[], place: BuildPlace): number {
  return search(rows, (row) => isBefore(row.queuedAt, row.buildId, place.queuedAt, place.buildId));
}

/** The same in the order of the newest events. */
export function countOlder(rows: readonly BuildRow[], place: Pick<BuildRow, 'updatedAt' | 'buildId'>): number {
  return search(rows, (row) => isBefore(row.updatedAt, row.buildId, place.updatedAt, place.buildId));
}

/** Puts a build at `index`; another object of the same build that is there is replaced. */
export function putAt(rows: SortedBuilds, index: number, row: BuildRow): void {
  rows.splice(index, rows[index]?.buildId === row.buildId ? 1 : 0, row);
}

/** Removes the build from `index`; false where another one, or none, is there. */
export function removeAt(rows: SortedBuilds, index: number, { buildId }: Pick<BuildRow, 'buildId'>): boolean {
  if (rows[index]?.buildId !== buildId) return false;
  rows.splice(index, 1);
  return true;
}

function search(rows: readonly BuildRow[], isLower: (row: BuildRow) => boolean): number {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const row = rows[middle];
    if (row !== undefined && isLower(row)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Times of the ledger are of one form (`Date.toISOString`): as texts they have the order of time. */
function isBefore(time: string, buildId: string, otherTime: string, otherId: string): boolean {
  return time === otherTime ? buildId < otherId : time < otherTime;
}
