import type { Hook } from '../hook.ts';
import { setResults } from '../hook-tools.ts';
import { CommandError, run } from '../run.ts';
import { callOf, requireService } from './program.ts';
import { resultText } from './result-text.ts';
import type { Parameters } from './run-action.ts';

/** The action `status`. A service that is degraded is shown, too. */
export function showStatus(hook: Hook, parameters: Parameters): void {
  requireService(hook);
  const narrowing = ['ticket-id', 'build-id'].flatMap((name) => {
    const value = parameters[name];
    return value === undefined ? [] : [`--${name}=${String(value)}`];
  });
  setResults({ report: resultText(callService(hook, ['status', ...narrowing])) });
}

/** The action `cancel`. */
export function cancel(hook: Hook, parameters: Parameters): void {
  requireService(hook);
  callService(hook, ['cancel', '--', String(parameters['build-id'])]);
  setResults({ 'build-id': String(parameters['build-id']), state: 'cancelling' });
}

function callService(hook: Hook, words: readonly string[]): string {
  const call = callOf(hook, words);
  try {
    return run(call.program, call.words, { environment: call.environment });
  } catch (error) {
    // 1: the service is degraded, and the answer says why.
    if (error instanceof CommandError && error.exitCode === 1 && error.stdout !== '') return error.stdout;
    throw error;
  }
}
