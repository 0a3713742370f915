import { setTimeout as sleep } from 'node:timers/promises';
import { OpenStackError } from './error.ts';

/** Trying again what failed for a reason that may pass. */

export interface RetryPolicy {
  /** Longest wait before the second attempt; doubles from there. The wait is random between half of it and all. */
  readonly delayMs: number;
  readonly maximumDelayMs: number;
  /** Gives up when all waits together would take longer. */
  readonly patienceMs: number;
  /** How often at most, the first time included. */
  readonly attempts?: number;
}

/** Long enough for a server to be restarted or replaced. */
export const defaultRetry = { delayMs: 500, maximumDelayMs: 8_000, patienceMs: 60_000 } as const satisfies RetryPolicy;

export interface RetryOptions {
  readonly signal: AbortSignal;
  readonly policy: RetryPolicy;
  /** Told of every failure that is followed by another attempt. */
  readonly onRetry?: (error: OpenStackError, attempt: number) => void;
}

/**
 * Runs `action` until it succeeds, fails for good, or patience ends; then throws its last error. Throws the reason of
 * the signal when that is aborted.
 */
export async function retrying<Result>(
  action: (attempt: number) => Promise<Result>,
  { signal, policy, onRetry }: RetryOptions,
): Promise<Result> {
  let waitedMs = 0;
  for (let attempt = 1; ; attempt += 1) {
    signal.throwIfAborted();
    try {
      return await action(attempt);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof OpenStackError) || !error.transient) throw error;
      const waitMs = delay(error, attempt, policy);
      waitedMs += waitMs;
      if (waitedMs > policy.patienceMs || attempt >= (policy.attempts ?? Number.POSITIVE_INFINITY)) throw error;
      onRetry?.(error, attempt);
      await sleep(waitMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

function delay(error: OpenStackError, attempt: number, policy: RetryPolicy): number {
  // A token that ran out is replaced at once.
  if (error.upstreamStatus === 401 && attempt === 1) return 0;
  const longestMs = Math.min(policy.maximumDelayMs, policy.delayMs * 2 ** (attempt - 1));
  return Math.max((error.retryAfterSeconds ?? 0) * 1000, longestMs * (0.5 + Math.random() / 2));
}
