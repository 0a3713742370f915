import { within } from '../async.ts';
import { toImageBuilderError } from '../errors.ts';

/** One thing that was looked at. */
export interface Finding {
  /** What was looked at. */
  readonly what: string;
  /** False: no build can run here because of it. */
  readonly ok: boolean;
  /** What was found, or what is wrong, in plain words. */
  readonly detail: string;
  /** What to do, so that builds can run or are faster. */
  readonly todo?: string;
  /** Debian packages to install for the same. */
  readonly packages?: readonly string[];
}

/** What `look` finds, or why it cannot be looked at, also where it takes longer than `limitMs`. Never throws. */
export async function withinLimit<Found>(
  limitMs: number,
  look: (signal: AbortSignal) => Promise<Found>,
): Promise<{ readonly found: Found } | { readonly failure: string }> {
  const timeLimit = new AbortController();
  const failure = `no answer within ${Math.round(limitMs / 1000)} seconds`;
  try {
    return { found: await within(look(timeLimit.signal), limitMs, failure) };
  } catch (error) {
    timeLimit.abort(error);
    return { failure: toImageBuilderError(error).message };
  }
}
