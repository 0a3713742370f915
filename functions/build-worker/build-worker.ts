import { refuseMethod, respond } from '#lib/api/respond.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import type { Log } from '#lib/log.ts';
import { respondAsync } from '#lib/worker/wake.ts';
import type { Worker } from '#lib/worker/worker.ts';
import type { Handler } from '../../template/node24-ts/function.ts';

export interface BuildWorkerDependencies {
  readonly worker: Worker;
  /** Wakes another worker soon, for a wake that this one cannot follow any more. */
  readonly passOn: () => void;
  readonly log: Log;
  /** Time limit of a call of this function. */
  readonly execTimeoutMs: number;
}

/**
 * A wake: takes builds until none waits, and answers with those that it built, or with 202 and none before it begins
 * where the caller prefers that. It needs no token: it carries nothing, a timer without a token must be able to send it,
 * and a needless wake costs one look at a queue. A worker that stops refuses it with `worker.stopping`, and sends
 * another, because OpenFaaS CE does not repeat a call that was refused.
 */
export function buildWorker({ worker, passOn, log, execTimeoutMs }: BuildWorkerDependencies): Handler {
  return (event, context) =>
    respond(context, log, async () => {
      if (event.method !== 'POST' && event.method !== 'GET') refuseMethod(context, event.method, ['GET', 'POST']);
      if (event.rawBody.length > 0) throw new ImageBuilderError('request.too_large', 'a wake has no body');
      const { stopping } = context;
      const deadline = Date.now() + execTimeoutMs;
      if (!stopping.aborted && prefersEarlyAnswer(event.headers.prefer)) {
        context.status(202).headers({ 'preference-applied': respondAsync });
        await context.answerNow({ builds: [] });
      }
      const builds = stopping.aborted ? [] : await worker.takeBuilds({ stopping, deadline });
      // A build that was handed back has woken another worker already.
      if (stopping.aborted && !builds.some(({ state }) => state === 'queued')) passOn();
      if (stopping.aborted && builds.length === 0) {
        throw new ImageBuilderError('worker.stopping', 'this worker stops', { retryAfterSeconds: 5 });
      }
      return { builds };
    });
}

/** A wake is one at any path; only the one without a path has a template. */
export function pathOf(written: string): '/' | 'other' {
  return written.replaceAll('/', '') === '' ? '/' : 'other';
}

function prefersEarlyAnswer(prefer = ''): boolean {
  return prefer.split(',').some((preference) => preference.trim().toLowerCase() === respondAsync);
}
