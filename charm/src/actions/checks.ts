import type { Hook } from '../hook.ts';
import { setResults } from '../hook-tools.ts';
import { CommandError, run } from '../run.ts';
import { callOf } from './program.ts';
import { resultText } from './result-text.ts';

/** The action `doctor`: also of a unit that is blocked or paused. */
export const doctor = (hook: Hook): void => check(hook, ['doctor'], 'No build can run on this unit: see the report');

/** The action `store-check`. */
export const storeCheck = (hook: Hook): void =>
  check(hook, ['store', 'check'], 'The store of images cannot be used: see the report');

function check(hook: Hook, words: readonly string[], failure: string): void {
  const call = callOf(hook, words);
  try {
    setResults({ report: resultText(run(call.program, call.words, { environment: call.environment })) });
  } catch (error) {
    if (!(error instanceof CommandError) || error.exitCode !== 1 || error.stdout === '') throw error;
    setResults({ report: resultText(error.stdout) });
    throw new Error(failure);
  }
}
