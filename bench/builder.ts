import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { loadConfig } from '#lib/config/load.ts';
import { toImageBuilderError } from '#lib/errors.ts';
import { createLog } from '#lib/log.ts';
import { openBuildTools } from '#lib/pipeline/open-tools.ts';
import type { BuildReporter } from '#lib/pipeline/reporter.ts';
import { runBuild } from '#lib/pipeline/run-build.ts';
import { createFileStore } from '#lib/store/file/file-store.ts';
import type { FromBuilder } from './image-builder.ts';
import { benchRequest, type Job } from './job.ts';
import { openLogging, silent } from './logging.ts';
import { processorSeconds, Stopwatch } from './measure.ts';

/** The process that builds as the worker does, once per message. Its settings are in the environment, as everywhere. */

process.on('disconnect', () => process.exit());

const config = loadConfig();
const { egress, folders, guest, http, image, limits, packages, provenance, tools, verification } = config;
const log = createLog({ level: 'warn' });
try {
  const build = await compose();
  process.on('message', (message: Job) => {
    build(message).then(tell, fail);
  });
} catch (error) {
  fail(error);
}

/** Chooses the guest, reports it to the bench, and returns the function that makes one build. */
async function compose(): Promise<(message: Job) => Promise<FromBuilder>> {
  for (const folder of [folders.workDirectory, folders.cacheDirectory]) await mkdir(folder, { recursive: true });
  const store = createFileStore(folders.storeDirectory);
  const isLogged = process.env.IMAGEBUILDER_AMQP_URL !== undefined;
  const logging = isLogged ? await openLogging({ config, store, log }) : null;
  const buildTools = await openBuildTools({
    settings: { egress, folders, guest, http, image, limits, packages, provenance, tools, verification },
    storeFor: () => store,
    ...(logging === null ? {} : { observer: logging.observer }),
    userAgent: 'imagebuilder-bench',
    log,
  });
  const { accelerator } = await buildTools.chooseGuest();
  tell({ type: 'ready', accelerator });
  return async (job) => {
    // Each caller has finished images of its own.
    const caller = job.reuse === 'packages' ? randomUUID() : null;
    const build = { buildId: randomUUID(), caller, request: benchRequest(job) };
    const usedBefore = processorSeconds();
    const watch = new Stopwatch();
    await using logged = await logging?.open(build);
    const reporter = stepTimer(watch, logged?.reporter ?? silent);
    const onStepEnd = logging?.stepEnded;
    const context = { signal: new AbortController().signal, log, reporter, ...(onStepEnd && { onStepEnd }) };
    await runBuild(build, buildTools, context);
    watch.begin('log');
    await logged?.keep();
    const times = watch.end();
    await rm(join(folders.storeDirectory, build.buildId), { recursive: true });
    return { type: 'built', ...times, processorSeconds: processorSeconds() - usedBefore };
  };
}

function tell(message: FromBuilder): void {
  process.send?.(message);
}

function fail(error: unknown): void {
  const { code, message, logTail } = toImageBuilderError(error);
  tell({ type: 'failed', code, message, logTail });
}

/** Times the steps on their way to another reporter. */
function stepTimer(watch: Stopwatch, reporter: BuildReporter): BuildReporter {
  return {
    ...reporter,
    begin(step, message) {
      watch.begin(step);
      reporter.begin(step, message);
    },
  };
}
