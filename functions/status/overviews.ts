import type { Caller } from '#lib/callers.ts';
import type { BuildRow } from '#lib/queue/build.ts';
import { dropOldest } from '#lib/queue/drop-oldest.ts';
import type { LiveLedger } from '#lib/queue/live-ledger.ts';
import { type Overview, overviewOf } from '#lib/queue/overview.ts';

/**
 * What each caller sees of all builds. It is made once for many calls: again when a record has changed something, and
 * after a second, because times go on.
 */
export interface Overviews {
  of(caller: Caller, visible: (build: BuildRow) => boolean): Overview;
}

const lifetimeMs = 1_000;
const maximumCallers = 100;

export function createOverviews(
  ledger: Pick<LiveLedger, 'get' | 'newestFirst' | 'waiting' | 'workers' | 'version'>,
): Overviews {
  const made = new Map<string, { readonly overview: Overview; readonly version: number; readonly atMs: number }>();
  return {
    of(caller, visible) {
      const known = made.get(caller.name);
      const atMs = performance.now();
      if (known?.version === ledger.version && atMs - known.atMs < lifetimeMs) return known.overview;
      const overview = overviewOf(ledger, new Date(), { visible, filter: () => true });
      made.delete(caller.name);
      made.set(caller.name, { overview, version: ledger.version, atMs });
      dropOldest(made, maximumCallers);
      return overview;
    },
  };
}
