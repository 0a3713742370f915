import type { Builder, BuildMeasurement } from './image-builder.ts';
import type { Job } from './job.ts';

/** The parts of a bench that builds one job in rounds. */

export const noRuns = (): BuildMeasurement[] => [];

/** Makes what builds of all callers share of this job, so that the next ones begin with it. */
export async function makeShared(builder: Builder, job: Job): Promise<void> {
  // In an empty cache the first one is remembered, the second one makes it, and the third one uses it.
  for (let count = 0; count < 3; count += 1) await builder.build({ ...job, reuse: 'packages' });
}

/** A function that tells what something took in a round. */
export function roundTeller(
  round: number,
  rounds: number,
  onLine: (line: string) => void,
): (who: string, measured: Pick<BuildMeasurement, 'totalSeconds' | 'processorSeconds'>) => void {
  return (who, { totalSeconds, processorSeconds }) =>
    onLine(
      `Round ${round} of ${rounds}: ${who}, ${totalSeconds.toFixed(2)} s, processor ${processorSeconds.toFixed(2)} s`,
    );
}
