import type { Caller } from '#lib/callers.ts';
import type { BuildRow } from '#lib/queue/build.ts';
import { dropOldest } from '#lib/queue/drop-oldest.ts';
import type { LiveLedger } from '#lib/queue/live-ledger.ts';
import {
  type Overview,
  type OverviewOptions,
  renderOverview,
  type Selection,
  selectBuilds,
  selectInSlices,
} from '#lib/queue/overview.ts';

/**
 * The builds as each caller sees them. An overview is made once for many calls: its times once a second, and all of it
 * when a record has changed something. To look at thousands of builds takes milliseconds: this happens twice a second at
 * most, and calls meanwhile get the overview before.
 */
export interface Overviews {
  /** Throws the error of a look at many builds that failed since the call before; a later call looks again. */
  of(caller: Caller, visible: (build: BuildRow) => boolean): Overview;
}

interface Selected {
  readonly selection: Selection;
  /** Of the ledger, before the look at it. */
  readonly version: number;
  readonly atMs: number;
}

interface Made {
  selected: Selected;
  overview: Overview;
  renderedAtMs: number;
  selecting: boolean;
  /** A look that failed, which the next call shall see. */
  failure?: { readonly error: unknown };
}

const renderAfterMs = 1_000;
/** Least time between two looks at many builds. */
const selectAgainAfterMs = 500;
/** Builds also fall out of the stream without a record that says so. */
const selectAfterMs = 60_000;
/** So many builds are looked at in less than a millisecond. */
const rowsInSlice = 500;
const maximumCallers = 100;

export function createOverviews(
  ledger: Pick<LiveLedger, 'get' | 'newestFirst' | 'waiting' | 'workers' | 'version'>,
): Overviews {
  const made = new Map<string, Made>();

  const render = ({ selection }: Selected) => renderOverview(ledger, new Date(), selection);

  const selectNow = (options: OverviewOptions): Selected => {
    const [version, atMs] = [ledger.version, performance.now()];
    return { selection: selectBuilds(ledger, new Date(), options), version, atMs };
  };

  const selectSoon = async (known: Made, options: OverviewOptions): Promise<void> => {
    known.selecting = true;
    const [version, atMs] = [ledger.version, performance.now()];
    try {
      const selection = await selectInSlices(ledger, new Date(), { ...options, rowsInSlice });
      known.selected = { selection, version, atMs };
      known.overview = render(known.selected);
      known.renderedAtMs = performance.now();
    } catch (error) {
      known.failure = { error };
    } finally {
      known.selecting = false;
    }
  };

  const refresh = (known: Made, options: OverviewOptions): void => {
    const { failure } = known;
    if (failure !== undefined) {
      delete known.failure;
      throw failure.error;
    }
    const nowMs = performance.now();
    const ageMs = nowMs - known.selected.atMs;
    const isFresh = known.selected.version === ledger.version && ageMs < selectAfterMs;
    if (isFresh && nowMs - known.renderedAtMs < renderAfterMs) return;
    if (!isFresh && isLarge(known.selected.selection)) {
      if (!known.selecting && ageMs >= selectAgainAfterMs) void selectSoon(known, options);
      return;
    }
    if (!isFresh) known.selected = selectNow(options);
    known.overview = render(known.selected);
    known.renderedAtMs = nowMs;
  };

  return {
    of(caller, visible) {
      const options = { visible, filter: () => true };
      const known = made.get(caller.name);
      if (known !== undefined) {
        made.delete(caller.name);
        made.set(caller.name, known);
        refresh(known, options);
        return known.overview;
      }
      const selected = selectNow(options);
      const overview = render(selected);
      made.set(caller.name, { selected, overview, renderedAtMs: performance.now(), selecting: false });
      dropOldest(made, maximumCallers);
      return overview;
    },
  };
}

function isLarge({ counts }: Selection): boolean {
  return Object.values(counts).reduce((sum, count) => sum + count, 0) > rowsInSlice;
}
