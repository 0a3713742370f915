import { type Backoff, backoffMs, retry } from '../../retry.ts';
import { OpenStackError } from './error.ts';

/** How long Keystone, Glance and Swift are tried again. */
export interface RetryPolicy extends Backoff {
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
  return await retry(action, {
    signal,
    waitMs(error, attempt) {
      if (!(error instanceof OpenStackError) || !error.transient) return null;
      const waitMs = delay(error, attempt, policy);
      waitedMs += waitMs;
      if (waitedMs > policy.patienceMs || attempt >= (policy.attempts ?? Number.POSITIVE_INFINITY)) return null;
      onRetry?.(error, attempt);
      return waitMs;
    },
  });
}

function delay(error: OpenStackError, attempt: number, policy: RetryPolicy): number {
  // A token that ran out is replaced at once.
  if (error.upstreamStatus === 401 && attempt === 1) return 0;
  return Math.max((error.retryAfterSeconds ?? 0) * 1000, backoffMs(attempt, policy));
}
