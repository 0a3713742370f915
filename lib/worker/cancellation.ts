import { z } from 'zod';
import { pause } from '../async.ts';
import { safeUrl } from '../errors.ts';
import type { Log } from '../log.ts';

/** The answer of a cancel URL: only an explicit `false` says that the build is no longer wanted. */
const CancelAnswer = z.object({ building: z.boolean() });

export interface CancelUrlOptions {
  readonly getJson: (url: string, options: { readonly signal: AbortSignal }) => Promise<unknown>;
  readonly pollMs: number;
  readonly signal: AbortSignal;
  /** Called at most once. */
  readonly onCancel: () => void;
  readonly log: Log;
}

/**
 * Looks at `cancelUrl` now and every `pollMs` until the signal aborts. Errors, a 404 or odd JSON are logged and
 * tolerated: a caller's server that is away must not end a build.
 */
export function watchCancelUrl(cancelUrl: string, options: CancelUrlOptions): AsyncDisposable {
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, options.signal]);
  const watching = watch();
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await watching;
    },
  };

  async function watch(): Promise<void> {
    while (!signal.aborted) {
      if (await isCancelled()) {
        if (!signal.aborted) options.onCancel();
        return;
      }
      await pause(options.pollMs, signal);
    }
  }

  async function isCancelled(): Promise<boolean> {
    try {
      const answer = CancelAnswer.safeParse(await options.getJson(cancelUrl, { signal }));
      if (answer.success) return !answer.data.building;
      options.log.info('cancel_url answered something else than {"building": …}', { cancel_url: safeUrl(cancelUrl) });
    } catch (error) {
      if (!signal.aborted) options.log.info('cancel_url not reached', { cancel_url: safeUrl(cancelUrl), error });
    }
    return false;
  }
}
