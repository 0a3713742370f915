import type { BuildErrorReport, BuildState, BuildStep } from '../api/event.ts';
import type { Metrics } from './metrics.ts';

/** The numbers that a worker counts. */
export interface WorkerMetrics {
  stepEnded(ended: { readonly step: BuildStep; readonly seconds: number; readonly error: unknown }): void;
  /** A build has ended by an event of this worker that counted. */
  buildEnded(imageType: string, state: BuildState, error: BuildErrorReport | undefined): void;
  /** An attempt ended with its worker, or with its guest. */
  attemptLost(cause: LossCause): void;
  cacheWanted(cache: string, hit: boolean): void;
  fetched(cache: string, bytes: number): void;
  stored(store: string, bytes: number): void;
}

export type LossCause = (typeof lossCauses)[number];
const lossCauses = ['worker', 'guest'] as const;

/** Seconds: most steps take some, an installation in an emulated machine takes an hour. */
const stepBuckets = [0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1_800, 3_600];

/**
 * Counts on the worker that does the work. The events stream would not do: every function reads all of it again when it
 * starts, so each would count the same builds once more.
 */
export function createWorkerMetrics(metrics: Metrics): WorkerMetrics {
  const steps = metrics.histogram(
    {
      name: 'imagebuilder_step_duration_seconds',
      help: 'Time that a step of an attempt took, by step and result',
      labels: ['step', 'result'],
    },
    stepBuckets,
  );
  const builds = metrics.counter({
    name: 'imagebuilder_builds_ended_total',
    help: 'Builds that this worker has ended, by kind of image, state, and the fault and code of the error',
    labels: ['image_type', 'state', 'fault', 'code'],
  });
  const losses = metrics.counter({
    name: 'imagebuilder_attempts_lost_total',
    help: 'Attempts that ended with a dead worker or guest, as this worker found',
    labels: ['cause'],
  });
  const wanted = metrics.counter({
    name: 'imagebuilder_cache_requests_total',
    help: 'Files that builds wanted, by cache and whether it had them (hit, miss)',
    labels: ['cache', 'result'],
  });
  const fetched = metrics.counter({
    name: 'imagebuilder_fetched_bytes_total',
    help: 'Bytes of files that came from servers, by the cache that they went to',
    labels: ['cache'],
  });
  const stored = metrics.counter({
    name: 'imagebuilder_stored_bytes_total',
    help: 'Bytes of images and of files beside them that were put into a store',
    labels: ['store'],
  });
  // A rate needs the value before the first loss.
  for (const cause of lossCauses) losses({ cause }, 0);
  return {
    stepEnded({ step, seconds, error }) {
      steps({ step, result: error === null ? 'done' : 'failed' }, seconds);
    },
    buildEnded(imageType, state, error) {
      builds({ image_type: imageType, state, fault: error?.fault ?? 'none', code: error?.code ?? 'none' });
    },
    attemptLost: (cause) => losses({ cause }),
    cacheWanted: (cache, hit) => wanted({ cache, result: hit ? 'hit' : 'miss' }),
    fetched: (cache, bytes) => fetched({ cache }, bytes),
    stored: (store, bytes) => stored({ store }, bytes),
  };
}
