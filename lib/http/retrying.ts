import { type Backoff, backoffMs, retry } from '../retry.ts';
import { UpstreamError } from './upstream-error.ts';

/** Limits for trying a server again. The wait that a Retry-After asks for comes on top of the pauses. */
export interface RetryPolicy extends Backoff {
  /** Most attempts, the first one included. Default: no limit. */
  readonly attempts?: number;
  /** Most attempts where the server is too slow, since each takes minutes. Default: 3. */
  readonly slowAttempts?: number;
  /** Gives up when all waits together would take longer. Default: a single one must not exceed `maximumDelayMs`. */
  readonly patienceMs?: number;
}

export interface RetryingOptions {
  readonly signal?: AbortSignal | undefined;
  readonly policy: RetryPolicy;
  /** Called with every failure that another attempt follows. */
  readonly onRetry?: (error: UpstreamError, attempt: number) => void;
}

/** Milliseconds to wait after attempt `attempt` (from 1) failed with `error`; null where another attempt cannot help. */
export function waitMs(error: unknown, attempt: number, policy: RetryPolicy): number | null {
  if (!(error instanceof UpstreamError) || !error.transient) return null;
  const { attempts = Number.POSITIVE_INFINITY, slowAttempts = 3, patienceMs = policy.maximumDelayMs } = policy;
  const askedMs = (error.retryAfterSeconds ?? 0) * 1000;
  if (attempt >= Math.min(attempts, error.timedOut ? slowAttempts : attempts) || askedMs > patienceMs) return null;
  // OpenStack answers 401 to an expired token, which is replaced at once.
  if (error.upstreamStatus === 401 && attempt === 1) return 0;
  return askedMs + backoffMs(attempt, policy);
}

/**
 * Runs `action` until it succeeds, fails for good, or the limits end it; then throws its last error. Throws the reason
 * of the signal when that is aborted.
 */
export function retrying<Result>(
  action: (attempt: number) => Promise<Result>,
  { signal, policy, onRetry }: RetryingOptions,
): Promise<Result> {
  let waitedMs = 0;
  return retry(action, {
    signal,
    waitMs(error, attempt) {
      const pauseMs = waitMs(error, attempt, policy);
      waitedMs += pauseMs ?? 0;
      if (pauseMs === null || waitedMs > (policy.patienceMs ?? Number.POSITIVE_INFINITY)) return null;
      onRetry?.(error as UpstreamError, attempt);
      return pauseMs;
    },
  });
}
