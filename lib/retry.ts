import { sleep } from './async.ts';

/** Tries again after failures that may pass. */

/** Growth of the waits between attempts. */
export interface Backoff {
  /** Longest wait after the first failure; doubles from there. */
  readonly delayMs: number;
  /** Upper limit of a wait. */
  readonly maximumDelayMs: number;
}

/**
 * Milliseconds to wait after that many failures in a row (from 1). The wait is random between two shares of the longest
 * one, by default half of it and all of it: callers turned away together should not come back together.
 */
export function backoffMs(
  failures: number,
  { delayMs, maximumDelayMs }: Backoff,
  [least, most]: readonly [number, number] = [0.5, 1],
): number {
  const longestMs = Math.min(maximumDelayMs, delayMs * 2 ** (failures - 1));
  return longestMs * (least + Math.random() * (most - least));
}

export interface RetryOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds to wait after the failure of an attempt (from 1); null where another attempt cannot help. */
  readonly waitMs: (error: unknown, attempt: number) => number | null;
}

/**
 * The result of the first attempt that succeeds. Throws the error of the last attempt, or the reason of the signal when
 * that aborts.
 */
export async function retry<Result>(
  action: (attempt: number) => Promise<Result>,
  { signal, waitMs }: RetryOptions,
): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    signal?.throwIfAborted();
    try {
      return await action(attempt);
    } catch (error) {
      signal?.throwIfAborted();
      const pauseMs = waitMs(error, attempt);
      if (pauseMs === null) throw error;
      await sleep(pauseMs, signal);
    }
  }
}
