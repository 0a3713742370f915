import { ImageBuilderError } from '../errors.ts';
import type { FunctionProcess } from './function-process.ts';
import type { Slots } from './slots.ts';
import type { StackFunction } from './stack.ts';

/** A function of the stack together with its process. */
export interface ServedFunction {
  readonly definition: StackFunction;
  readonly process: FunctionProcess;
  /** Calls at once, synchronous and asynchronous ones together. */
  readonly slots: Slots;
  /** Number of calls begun, as `invocationCount` of OpenFaaS. */
  calls: number;
}

/**
 * The time limit of one call: the shorter of exec_timeout and write_timeout, as with the watchdog, which cuts the
 * answer off at the second. Its signal aborts with `function.timeout`; dispose it when the call is over.
 */
export function startTimeLimit(definition: StackFunction): { readonly signal: AbortSignal } & Disposable {
  const { execTimeoutMs = Number.POSITIVE_INFINITY, writeTimeoutMs } = definition;
  const limitMs = Math.min(execTimeoutMs, writeTimeoutMs);
  const variable = execTimeoutMs <= writeTimeoutMs ? 'exec_timeout' : 'write_timeout';
  const controller = new AbortController();
  const abort = () =>
    controller.abort(
      new ImageBuilderError(
        'function.timeout',
        `the function ${definition.name} did not answer within its ${variable} of ${limitMs / 1000} s`,
      ),
    );
  const timer = setTimeout(abort, Math.min(limitMs, longestTimerMs));
  return { signal: controller.signal, [Symbol.dispose]: () => clearTimeout(timer) };
}

/** Timers longer than this fire at once (Node keeps the delay in 31 bits); about 24.8 days. */
const longestTimerMs = 2 ** 31 - 1;
