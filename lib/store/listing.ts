import type { StoredBuild } from './artifact.ts';
import { inParallel, parallelCalls } from './in-parallel.ts';

/** Pages of the builds in a store, the newest first. */

/** The place of a build in this order. */
export interface Position {
  /** ISO 8601 in UTC, with milliseconds, so that texts compare as times. */
  readonly storedAt: string;
  readonly buildId: string;
}

export interface ListOptions {
  /** The page begins after this position; null: with the newest build. */
  readonly after: Position | null;
  /** Most builds of the page. It may have fewer although more follow. */
  readonly limit: number;
  readonly signal: AbortSignal;
}

export interface StoredPage {
  readonly builds: readonly StoredBuild[];
  /** Where the next page begins; null on the last one. */
  readonly next: Position | null;
}

/** Less than 0 where `one` comes first. */
export function comparePositions(one: Position, other: Position): number {
  if (one.storedAt !== other.storedAt) return one.storedAt > other.storedAt ? -1 : 1;
  return one.buildId === other.buildId ? 0 : one.buildId < other.buildId ? -1 : 1;
}

/** The newest positions after that of the options, and whether more follow. */
export interface Selected<Item> {
  readonly positions: readonly Item[];
  readonly more: boolean;
}

export interface Selection<Item> {
  add(position: Item): void;
  /** True where a position of this time, and older ones, would not be among the selected any more. */
  isFull(storedAt: string): boolean;
  selected(): Selected<Item>;
}

/** Selects the newest of any number of positions, in any order, and keeps no more than some pages of them. */
export function selectNewest<Item extends Position = Position>({
  after,
  limit,
}: Omit<ListOptions, 'signal'>): Selection<Item> {
  const most = limit + 1;
  let kept: Item[] = [];
  const prune = () => {
    kept = kept.sort(comparePositions).slice(0, most);
  };
  return {
    add(position) {
      if (after !== null && comparePositions(position, after) <= 0) return;
      kept.push(position);
      if (kept.length >= 4 * most) prune();
    },
    isFull(storedAt) {
      if (kept.length < most) return false;
      prune();
      return storedAt < (kept.at(-1)?.storedAt ?? '');
    },
    selected() {
      prune();
      return { positions: kept.slice(0, limit), more: kept.length > limit };
    },
  };
}

/** The newest of several lists, each in order, up to where all of them are known; `next` as in `StoredPage`. */
export function mergeNewest<Item extends Position>(
  lists: readonly { readonly items: readonly Item[]; readonly next: Position | null }[],
  limit: number,
): { readonly items: readonly Item[]; readonly next: Position | null } {
  const [horizon] = lists.flatMap(({ next }) => next ?? []).sort(comparePositions);
  const known = lists
    .flatMap(({ items }) => items)
    .filter((item) => horizon === undefined || comparePositions(item, horizon) <= 0)
    .sort(comparePositions);
  const items = known.slice(0, limit);
  const last = items.at(-1);
  if (items.length === known.length || last === undefined) return { items, next: horizon ?? null };
  return { items, next: { storedAt: last.storedAt, buildId: last.buildId } };
}

/** `selected` as a list for `mergeNewest`. */
export function listOf<Item extends Position>({ positions, more }: Selected<Item>) {
  return { items: positions, next: more ? (positions.at(-1) ?? null) : null };
}

/** Describes the builds at these positions. Those that are gone, or not of this store, are left out. */
export async function describeAll<Item extends Position>(
  positions: readonly Item[],
  describe: (position: Item, signal: AbortSignal) => Promise<StoredBuild | null>,
  signal: AbortSignal,
): Promise<StoredBuild[]> {
  const found: (StoredBuild | null)[] = positions.map(() => null);
  await inParallel(positions, parallelCalls, signal, async (position, index, either) => {
    const build = await describe(position, either);
    found[index] = build && { ...build, storedAt: position.storedAt };
  });
  return found.filter((build) => build !== null);
}

/** The builds of the folders that have the name of a build after `prefix`. */
export async function* positionsOf(
  folders: AsyncIterable<{ readonly name: string; readonly storedAt: string }>,
  prefix = '',
): AsyncGenerator<Position, void> {
  for await (const { name, storedAt } of folders) {
    const buildId = name.slice(prefix.length);
    if (isBuildId(buildId)) yield { buildId, storedAt };
  }
}

const lowerUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** True for a name that a build, or an image in Glance, may have: others put other names into the same place. */
export function isBuildId(name: string): boolean {
  return lowerUuid.test(name);
}
