import { type Caller, seenOwner } from '#lib/callers.ts';
import { dropOldest } from '#lib/queue/drop-oldest.ts';
import type { LiveLedger } from '#lib/queue/live-ledger.ts';
import { type Overview, overviewOf } from '#lib/queue/overview.ts';

/**
 * The builds as each caller sees them. An overview is made once for many calls: when a record has changed something, and once
 * a second for its times.
 */
export interface Overviews {
  of(caller: Caller): Overview;
}

interface Made {
  readonly overview: Overview;
  /** Of the ledger that it shows. */
  readonly version: number;
  readonly atMs: number;
}

const againAfterMs = 1_000;
const maximumOwners = 100;

export function createOverviews(ledger: Parameters<typeof overviewOf>[0] & Pick<LiveLedger, 'version'>): Overviews {
  /** By the name of the only caller whose builds they show; empty: the builds of all. */
  const made = new Map<string, Made>();

  return {
    of(caller) {
      const owner = seenOwner(caller);
      const key = owner ?? '';
      const known = made.get(key);
      const nowMs = performance.now();
      if (known?.version === ledger.version && nowMs - known.atMs < againAfterMs) return known.overview;
      const overview = overviewOf(ledger, new Date(), { caller: owner });
      made.delete(key);
      made.set(key, { overview, version: ledger.version, atMs: nowMs });
      dropOldest(made, maximumOwners);
      return overview;
    },
  };
}
