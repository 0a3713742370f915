import type { Caller } from '#lib/callers.ts';
import type { BuildRow } from '#lib/queue/build.ts';
import { dropOldest } from '#lib/queue/drop-oldest.ts';
import type { LiveLedger } from '#lib/queue/live-ledger.ts';
import { type Overview, overviewOf } from '#lib/queue/overview.ts';

/**
 * The builds as each caller sees them. An overview is made once for many calls: again when a record has changed
 * something, and after a second, because times go on. Making it takes milliseconds where there are many builds; however
 * many records come, it takes a tenth of the processor at most.
 */
export interface Overviews {
  of(caller: Caller, visible: (build: BuildRow) => boolean): Overview;
}

interface Made {
  readonly overview: Overview;
  readonly version: number;
  readonly atMs: number;
  readonly tookMs: number;
}

const lifetimeMs = 1_000;
const maximumCallers = 100;

export function createOverviews(
  ledger: Pick<LiveLedger, 'get' | 'newestFirst' | 'waiting' | 'workers' | 'version'>,
): Overviews {
  const made = new Map<string, Made>();
  return {
    of(caller, visible) {
      const known = made.get(caller.name);
      const atMs = performance.now();
      if (known !== undefined) {
        const ageMs = atMs - known.atMs;
        if (ageMs < known.tookMs * 10 || (known.version === ledger.version && ageMs < lifetimeMs))
          return known.overview;
      }
      const overview = overviewOf(ledger, new Date(), { visible, filter: () => true });
      made.delete(caller.name);
      made.set(caller.name, { overview, version: ledger.version, atMs, tookMs: performance.now() - atMs });
      dropOldest(made, maximumCallers);
      return overview;
    },
  };
}
