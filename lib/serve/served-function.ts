import { ImageBuilderError } from '../errors.ts';
import { requestedTimeoutMs } from './duration.ts';
import type { FunctionProcess } from './function-process.ts';
import type { RawHeaders } from './headers.ts';
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
 * The time limit of one call: the shortest of exec_timeout, write_timeout, which the watchdog cuts the answer off at, and
 * the X-Timeout of the call. Its signal aborts with `function.timeout`; dispose it when the call is over, or has no limit
 * any more.
 */
export function startTimeLimit(
  { name, execTimeoutMs = Number.POSITIVE_INFINITY, writeTimeoutMs }: StackFunction,
  headers: RawHeaders,
): { readonly signal: AbortSignal } & Disposable {
  const limits = [
    { of: 'its exec_timeout', ms: execTimeoutMs },
    { of: 'its write_timeout', ms: writeTimeoutMs },
    { of: 'the X-Timeout', ms: requestedTimeoutMs(headers) ?? Number.POSITIVE_INFINITY },
  ];
  const limitMs = Math.min(...limits.map(({ ms }) => ms));
  const of = limits.find(({ ms }) => ms === limitMs)?.of;
  const controller = new AbortController();
  const abort = () =>
    controller.abort(
      new ImageBuilderError(
        'function.timeout',
        `the function ${name} did not answer within ${of} of ${limitMs / 1000} s`,
      ),
    );
  const timer = setTimeout(abort, Math.min(limitMs, longestTimerMs));
  return { signal: controller.signal, [Symbol.dispose]: () => clearTimeout(timer) };
}

/** Timers longer than this fire at once (Node keeps the delay in 31 bits); about 24.8 days. */
const longestTimerMs = 2 ** 31 - 1;
