import { type Backoff, backoffMs, retry } from '../../retry.ts';
import { OpenStackError } from './error.ts';

/** Limits for trying Keystone, Glance and Swift again. */
export interface RetryPolicy extends Backoff {
  /** Gives up when all waits together would take longer. */
  readonly patienceMs: number;
  /** Most attempts, the first one included. */
  readonly attempts?: number;
}

/** Long enough for a server to be restarted or replaced. */
export const defaultRetry = { delayMs: 500, maximumDelayMs: 8_000, patienceMs: 60_000 } as const satisfies RetryPolicy;

export interface RetryOptions {
  readonly signal: AbortSignal;
  readonly policy: RetryPolicy;
  /** Called with every failure that another attempt follows. */
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
  // An expired token is replaced at once.
  if (error.upstreamStatus === 401 && attempt === 1) return 0;
  return Math.max((error.retryAfterSeconds ?? 0) * 1000, backoffMs(attempt, policy));
}
