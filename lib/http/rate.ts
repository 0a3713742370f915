/**
 * The least rate of an answer. A server that sends a byte now and then never stalls, and would hold a build for as long
 * as the build may last.
 */
export const leastBytesPerSecond = 1024;
/** The rate is the mean over this many times the stall limit, so that a single pause is no drip. */
const windowStalls = 4;

export interface RateGuard {
  /** Counts `bytes` that came after `waitedMs` of waiting for them; true when the server is too slow. */
  isTooSlow(waitedMs: number, bytes: number): boolean;
  /** Starts measuring anew. */
  reset(): void;
}

/** Makes the guard of one answer. */
export function createRateGuard(stallTimeoutMs: number): RateGuard {
  let totalMs = 0;
  let totalBytes = 0;
  const reset = () => {
    totalMs = 0;
    totalBytes = 0;
  };
  return {
    isTooSlow(waitedMs, bytes) {
      totalMs += waitedMs;
      totalBytes += bytes;
      if (totalMs < windowStalls * stallTimeoutMs) return false;
      const slow = totalBytes * 1000 < leastBytesPerSecond * totalMs;
      reset();
      return slow;
    },
    reset,
  };
}
