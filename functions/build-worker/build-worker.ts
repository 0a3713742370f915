import { refuseMethod, respond } from '#lib/api/respond.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import type { Log } from '#lib/log.ts';
import type { Worker } from '#lib/worker/worker.ts';
import type { Handler } from '../../template/node24-ts/function.ts';

export interface BuildWorkerDependencies {
  readonly worker: Worker;
  readonly log: Log;
  /** Time limit of a call of this function. */
  readonly execTimeoutMs: number;
}

/**
 * A wake: takes builds until none waits, and answers with those that it built. It needs no token: it carries nothing, a
 * timer without a token must be able to send it, and a needless wake costs one look at a queue.
 */
export function buildWorker({ worker, log, execTimeoutMs }: BuildWorkerDependencies): Handler {
  return (event, context) =>
    respond(context, log, async () => {
      if (event.method !== 'POST' && event.method !== 'GET') refuseMethod(context, event.method, ['GET', 'POST']);
      if (event.rawBody.length > 0) throw new ImageBuilderError('request.too_large', 'a wake has no body');
      const deadline = Date.now() + execTimeoutMs;
      return { builds: await worker.takeBuilds({ stopping: context.stopping, deadline }) };
    });
}
