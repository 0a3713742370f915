import type { Log } from '../log.ts';

/** Wakes other workers for jobs that wait while this one builds. */
export interface Others {
  /** Does so until the result is disposed. */
  wakeMeanwhile(): Disposable;
}

export interface OthersOptions {
  /** Number of jobs that wait for a worker. */
  readonly depth: () => Promise<number>;
  readonly wake: () => void;
  readonly everyMs?: number;
  readonly log: Log;
}

/**
 * The wake of a job may have reached this worker, which was busy and refused it; OpenFaaS CE sends it to no other one.
 * So this worker looks every ten seconds whether jobs wait, and wakes one worker, any, if they do.
 */
export function createOthers({ depth, wake, everyMs = 10_000, log }: OthersOptions): Others {
  let builds = 0;
  let timer: NodeJS.Timeout | undefined;
  const look = async () => {
    try {
      if ((await depth()) > 0) wake();
    } catch (error) {
      log.debug('the number of waiting jobs is not known', { error });
    }
  };
  return {
    wakeMeanwhile() {
      builds += 1;
      timer ??= setInterval(() => void look(), everyMs);
      return {
        [Symbol.dispose]() {
          builds -= 1;
          if (builds > 0) return;
          clearInterval(timer);
          timer = undefined;
        },
      };
    },
  };
}
