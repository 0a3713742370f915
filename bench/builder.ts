import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '#lib/config/load.ts';
import { toImageBuilderError } from '#lib/errors.ts';
import { createLog } from '#lib/log.ts';
import { openBuildTools } from '#lib/pipeline/open-tools.ts';
import type { BuildReporter } from '#lib/pipeline/reporter.ts';
import { runBuild } from '#lib/pipeline/run-build.ts';
import { createFileStore } from '#lib/store/file/file-store.ts';
import type { FromBuilder, ToBuilder } from './image-builder.ts';
import { benchRequest } from './job.ts';
import { Stopwatch } from './measure.ts';

/** The process that builds as the worker does, once per message. Its settings are in the environment, as everywhere. */

process.on('disconnect', () => process.exit());

const { egress, folders, guest, http, image, limits, packages, provenance, tools, verification } = loadConfig();
const log = createLog({ level: 'warn' });
try {
  const build = await compose();
  process.on('message', (message: ToBuilder) => {
    build(message).then(tell, fail);
  });
} catch (error) {
  fail(error);
}

/** Chooses the guest, reports it to the bench, and returns the function that makes one build. */
async function compose(): Promise<(message: ToBuilder) => Promise<FromBuilder>> {
  for (const folder of [folders.workDirectory, folders.cacheDirectory]) await mkdir(folder, { recursive: true });
  const buildTools = await openBuildTools({
    settings: { egress, folders, guest, http, image, limits, packages, provenance, tools, verification },
    storeFor: () => createFileStore(folders.storeDirectory),
    userAgent: 'imagebuilder-bench',
    log,
  });
  const { accelerator } = await buildTools.chooseGuest();
  tell({ type: 'ready', accelerator });
  return async ({ imageUrl, series }) => {
    const build = { buildId: randomUUID(), caller: null, request: benchRequest(imageUrl, series) };
    const watch = new Stopwatch();
    const context = { signal: new AbortController().signal, log, reporter: stepTimer(watch) };
    const { image } = await runBuild(build, buildTools, context);
    const times = watch.end();
    await rm(fileURLToPath(image.location));
    return { type: 'built', ...times };
  };
}

function tell(message: FromBuilder): void {
  process.send?.(message);
}

function fail(error: unknown): void {
  const { code, message, logTail } = toImageBuilderError(error);
  tell({ type: 'failed', code, message, logTail });
}

/** A reporter that only times the steps. */
function stepTimer(watch: Stopwatch): BuildReporter {
  return { begin: (step) => watch.begin(step), progress() {}, notice() {}, log() {}, guest() {} };
}
