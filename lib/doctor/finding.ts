import { within } from '../async.ts';
import { toImageBuilderError } from '../errors.ts';

/** The result of looking at one subject. */
export interface Finding {
  /** The subject, such as a tool or a folder. */
  readonly what: string;
  /** False: no build can run here because of it. */
  readonly ok: boolean;
  /** The state or the fault of it, in plain words. */
  readonly detail: string;
  /** Advice that makes builds run, or run faster. */
  readonly todo?: string;
  /** Debian packages to install, as part of the advice. */
  readonly packages?: readonly string[];
}

/** The findings of `look`, or the reason why it failed, also where it takes longer than `limitMs`. Never throws. */
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
