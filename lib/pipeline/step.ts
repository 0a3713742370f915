import type { BuildStep } from '../api/event.ts';
import type { BuildContext } from './context.ts';

/**
 * Runs one step of a build: reports its beginning, and writes to the worker's log how long it took and whether it
 * failed. Resolves, and throws, as `work` does.
 */
export async function runStep<Value>(
  { reporter, log, onStepEnd }: Pick<BuildContext, 'reporter' | 'log' | 'onStepEnd'>,
  step: BuildStep,
  message: string,
  work: () => Promise<Value>,
): Promise<Value> {
  reporter.begin(step, message);
  const startedMs = performance.now();
  const end = (failed: boolean) => {
    const seconds = Math.round(performance.now() - startedMs) / 1000;
    log.info('step ended', { step, failed, duration_seconds: seconds });
    onStepEnd?.(step, failed, seconds);
  };
  try {
    const value = await work();
    end(false);
    return value;
  } catch (error) {
    end(true);
    throw error;
  }
}
