import { onAbort } from '../async.ts';
import { ImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Broker } from '../queue/broker.ts';
import { type CancelUrlOptions, watchCancelUrl } from './cancellation.ts';
import { lostOwnership } from './decide.ts';

/** All causes that may end a running build from outside, as one signal; the first cause wins. */
export interface Interruption extends AsyncDisposable {
  /**
   * Aborted with an ImageBuilderError: `build.cancelled`, `build.timeout`, `worker.stopping`, or `lostOwnership` when
   * another worker has claimed the build.
   */
  readonly signal: AbortSignal;
}

export interface InterruptionOptions {
  readonly buildId: string;
  readonly worker: string;
  readonly attempt: number;
  readonly ledger: Broker['ledger'];
  readonly cancelUrl: string | null;
  readonly getJson: CancelUrlOptions['getJson'];
  readonly cancelPollMs: number;
  readonly timeoutMs: number;
  /** Aborted when the worker has to stop (SIGTERM). */
  readonly stopping: AbortSignal;
  readonly log: Log;
}

/** Watches until disposed. */
export function watchInterruptions(options: InterruptionOptions): Interruption {
  const { buildId, ledger, stopping, timeoutMs } = options;
  const abort = new AbortController();
  const cancel = (how: string) => abort.abort(new ImageBuilderError('build.cancelled', `cancelled ${how}`));

  const stop = () => abort.abort(new ImageBuilderError('worker.stopping', 'the worker stops'));
  const stopListener = onAbort(stopping, stop);

  const tooLong = `the build took longer than its limit of ${timeoutMs / 1000} seconds`;
  const timer = setTimeout(() => abort.abort(new ImageBuilderError('build.timeout', tooLong)), timeoutMs);

  const look = () => {
    if (!ledger.owns(buildId, options.worker, options.attempt)) abort.abort(lostOwnership);
    else if (ledger.get(buildId)?.cancelling === true) cancel('by request');
  };
  const unfollow = ledger.onChange(buildId, look);
  look();

  const cancelUrl =
    options.cancelUrl === null
      ? null
      : watchCancelUrl(options.cancelUrl, {
          getJson: options.getJson,
          pollMs: options.cancelPollMs,
          signal: abort.signal,
          onCancel: () => cancel('by its cancel_url'),
          log: options.log,
        });

  return {
    signal: abort.signal,
    async [Symbol.asyncDispose]() {
      clearTimeout(timer);
      stopListener[Symbol.dispose]();
      unfollow();
      await cancelUrl?.[Symbol.asyncDispose]();
    },
  };
}
