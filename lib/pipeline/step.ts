import type { BuildStep } from '../api/event.ts';
import { type ImageBuilderError, toImageBuilderError } from '../errors.ts';
import type { BuildContext } from './context.ts';

/**
 * Runs one step of a build: reports its beginning, and writes to the worker's log how long it took and whether it
 * failed. Resolves, and throws, as `work` does.
 */
export async function runStep<Value>(
  { reporter, log, onStepEnd, signal }: Pick<BuildContext, 'reporter' | 'log' | 'onStepEnd' | 'signal'>,
  step: BuildStep,
  message: string,
  work: () => Promise<Value>,
): Promise<Value> {
  reporter.begin(step, message);
  const startedAt = new Date();
  const startedMs = performance.now();
  const end = (error: ImageBuilderError | null) => {
    const seconds = Math.round(performance.now() - startedMs) / 1000;
    log.info('step ended', { step, failed: error !== null, duration_seconds: seconds });
    const endedAt = new Date(startedAt.getTime() + seconds * 1000);
    onStepEnd?.({ step, startedAt, endedAt, seconds, error });
  };
  try {
    const value = await work();
    end(null);
    return value;
  } catch (error) {
    // An error while a build is being ended is a consequence; the reason of the end is the cause.
    end(toImageBuilderError(signal.aborted ? signal.reason : error));
    throw error;
  }
}
