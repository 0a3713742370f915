import type { Caller } from '#lib/callers.ts';
import type { BuildRow } from '#lib/queue/build.ts';
import { dropOldest } from '#lib/queue/drop-oldest.ts';
import type { LiveLedger } from '#lib/queue/live-ledger.ts';
import { type Overview, renderOverview, type Selection, selectBuilds } from '#lib/queue/overview.ts';

/**
 * The builds as each caller sees them. An overview is made once for many calls: again when a record has changed
 * something, and its times once a second. To look at all builds takes milliseconds where there are many: however many
 * records come, it takes a hundredth of the processor, or happens twice a second.
 */
export interface Overviews {
  of(caller: Caller, visible: (build: BuildRow) => boolean): Overview;
}

interface Made {
  readonly overview: Overview;
  readonly renderedAtMs: number;
  readonly selection: Selection;
  readonly version: number;
  readonly selectedAtMs: number;
  readonly selectingTookMs: number;
}

/** Longest time for which an overview may lack what records have changed. */
const mostStaleMs = 500;
const renderAfterMs = 1_000;
/** Builds also fall out of the stream without a record that says so. */
const selectAfterMs = 60_000;
const maximumCallers = 100;

export function createOverviews(
  ledger: Pick<LiveLedger, 'get' | 'newestFirst' | 'waiting' | 'workers' | 'version'>,
): Overviews {
  const made = new Map<string, Made>();

  const select = (visible: (build: BuildRow) => boolean) => {
    const selectedAtMs = performance.now();
    const selection = selectBuilds(ledger, new Date(), { visible, filter: () => true });
    return { selection, version: ledger.version, selectedAtMs, selectingTookMs: performance.now() - selectedAtMs };
  };

  return {
    of(caller, visible) {
      const known = made.get(caller.name);
      const nowMs = performance.now();
      const isFresh = known !== undefined && known.version === ledger.version;
      const ageMs = nowMs - (known?.selectedAtMs ?? 0);
      if (known !== undefined) {
        if (!isFresh && ageMs < Math.min(known.selectingTookMs * 100, mostStaleMs)) return known.overview;
        if (isFresh && nowMs - known.renderedAtMs < renderAfterMs) return known.overview;
      }
      const selected = isFresh && ageMs < selectAfterMs ? known : select(visible);
      const overview = renderOverview(ledger, new Date(), selected.selection);
      made.delete(caller.name);
      made.set(caller.name, { ...selected, overview, renderedAtMs: nowMs });
      dropOldest(made, maximumCallers);
      return overview;
    },
  };
}
