import type { BuildStep } from '../api/event.ts';
import type { BuildContext } from './context.ts';

/**
 * Runs one step of a build: reports its beginning, and writes to the worker's log how long it took and whether it
 * failed. Resolves, and throws, as `work` does.
 */
export async function runStep<Value>(
  { reporter, log }: Pick<BuildContext, 'reporter' | 'log'>,
  step: BuildStep,
  message: string,
  work: () => Promise<Value>,
): Promise<Value> {
  reporter.begin(step, message);
  const startedMs = performance.now();
  const end = (failed: boolean) => {
    log.info('step ended', { step, failed, duration_seconds: Math.round(performance.now() - startedMs) / 1000 });
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
