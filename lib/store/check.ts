import { toImageBuilderError } from '../errors.ts';
import { type ChosenStores, chooseStores, type StoreInputs } from './choose.ts';
import type { StoreCheck } from './store.ts';

/** Whether finished images will find their way: looked at as a build would go it, with a tiny image that is removed. */

export interface Finding {
  /** What was looked at. */
  readonly what: string;
  readonly ok: boolean;
  /** What was found, or what is wrong, in plain words. */
  readonly detail: string;
}

const timeLimitMs = 120_000;

/** Looks at everything in the order in which a build needs it, and ends with the first thing that is wrong. */
export function checkStores(inputs: StoreInputs): AsyncGenerator<Finding, void> {
  return run(inputs, AbortSignal.timeout(timeLimitMs), () => true);
}

/** The part of it that changes nothing: settings, credentials and catalogue. */
export function glanceAtStores(inputs: StoreInputs, signal: AbortSignal): AsyncGenerator<Finding, void> {
  return run(inputs, signal, ({ changes }) => !changes);
}

async function* run(
  inputs: StoreInputs,
  signal: AbortSignal,
  isWanted: (check: StoreCheck) => boolean,
): AsyncGenerator<Finding, void> {
  let chosen: ChosenStores;
  try {
    chosen = chooseStores(inputs);
  } catch (error) {
    yield { what: 'settings', ok: false, detail: toImageBuilderError(error).message };
    return;
  }
  yield { what: 'settings', ok: true, detail: chosen.description };
  const checks = [...chosen.checks, ...chosen.stores.flatMap((store) => store.checks)];
  for (const { what, look } of checks.filter(isWanted)) {
    try {
      yield { what, ok: true, detail: await look(signal) };
    } catch (error) {
      yield { what, ok: false, detail: toImageBuilderError(error).message };
      return;
    }
  }
}
