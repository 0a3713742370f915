import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { BuildRequest } from '#lib/api/request.ts';
import type { Reporter } from '#lib/build/reporter.ts';
import { runBuild } from '#lib/build/run-build.ts';
import type { BuildTools } from '#lib/build/tools.ts';
import type { Log } from '#lib/log.ts';
import { type Measurement, Stopwatch, withPeakMemory } from './measure.ts';

/** One build by the worker's own code, from the fetch to the store, timed step by step. The image is removed again. */
export async function measureImageBuilder(options: {
  readonly request: BuildRequest;
  readonly tools: BuildTools;
  readonly directory: string;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<Measurement & { readonly sizeBytes: number }> {
  const { request, tools, directory, log, signal } = options;
  const watch = new Stopwatch();
  const { value, peakBytes } = await withPeakMemory(directory, () =>
    runBuild({ buildId: randomUUID(), request }, tools, { signal, log, reporter: stepTimer(watch) }),
  );
  const times = watch.end();
  await rm(fileURLToPath(value.location));
  return { ...times, peakBytes, sizeBytes: value.size };
}

/** A reporter that tells nobody and times the steps. */
function stepTimer(watch: Stopwatch): Reporter {
  return {
    step: null,
    doing: '',
    begin: (step) => watch.begin(step),
    progress() {},
    notice() {},
    log() {},
    guest() {},
    logTail: () => [],
    end: () => Promise.reject(new Error('the end of a build is told by the worker, which takes no part here')),
    handBack: () => Promise.resolve(true),
    async [Symbol.asyncDispose]() {},
  };
}
