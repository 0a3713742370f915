import { toImageBuilderError } from '../errors.ts';
import { type ChosenStores, chooseStores, type StoreInputs } from './choose.ts';
import type { StoreCheck } from './store.ts';

/** Whether finished images will find their way: tries it as a build would, with a tiny image that is removed. */

export interface Finding {
  /** The subject, such as a quota. */
  readonly what: string;
  readonly ok: boolean;
  /** The state or the fault of it, in plain words. */
  readonly detail: string;
}

const timeLimitMs = 120_000;

/** Checks everything in the order in which a build needs it, and ends with the first fault. */
export function checkStores(inputs: StoreInputs): AsyncGenerator<Finding, void> {
  return run(inputs, AbortSignal.timeout(timeLimitMs), () => true);
}

/** The part of the check that changes nothing: settings, credentials and catalogue. */
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
