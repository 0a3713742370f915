import { setTimeout as timer } from 'node:timers/promises';

/** Waits: for a time, for a signal, for work that a signal or a limit cuts short, for several pieces of work. */

/** Calls `act` when the signal aborts, at once where it has aborted already. Disposing it removes the listener. */
export function onAbort(signal: AbortSignal | undefined, act: () => void): Disposable {
  if (signal?.aborted === true) act();
  else signal?.addEventListener('abort', act, { once: true });
  return { [Symbol.dispose]: () => signal?.removeEventListener('abort', act) };
}

/** Resolves when the signal aborts. */
export function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => onAbort(signal, resolve));
}

/** Waits `ms` milliseconds, or until the signal aborts. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await timer(ms, undefined, { signal }).catch(() => {});
}

/** Waits `ms` milliseconds. Throws the reason of the signal when it aborts earlier. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  await pause(ms, signal);
  signal?.throwIfAborted();
}

/**
 * The value of `promise`. Throws the reason of the first signal that aborts earlier; the work behind the promise goes
 * on, and its failure is then ignored.
 */
export async function orAborted<Value>(promise: Promise<Value>, ...signals: readonly AbortSignal[]): Promise<Value> {
  const either = AbortSignal.any([...signals]);
  const aborted = Promise.withResolvers<never>();
  using _listener = onAbort(either, () => aborted.reject(either.reason));
  return await Promise.race([aborted.promise, promise]);
}

/** The value of `promise`. Throws an error with `message` where it takes longer than `limitMs`; the work goes on. */
export async function within<Value>(
  promise: Promise<Value>,
  limitMs: number,
  message = 'no answer in time',
): Promise<Value> {
  const late = Promise.withResolvers<never>();
  const limit = setTimeout(() => late.reject(new Error(message)), Math.max(limitMs, 0));
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(limit);
  }
}

/**
 * The results of several pieces of work that run at the same time. Where one fails, the others are aborted, and have
 * ended before its error is thrown.
 */
export async function together<Values extends readonly unknown[]>(
  signal: AbortSignal,
  begin: (signal: AbortSignal) => { readonly [Index in keyof Values]: Promise<Values[Index]> },
): Promise<Values> {
  const failed = new AbortController();
  const running: readonly Promise<unknown>[] = begin(AbortSignal.any([signal, failed.signal]));
  try {
    return (await Promise.all(running)) as unknown as Values;
  } catch (error) {
    failed.abort(error);
    await Promise.allSettled(running);
    throw error;
  }
}
