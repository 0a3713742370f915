import { rm } from 'node:fs/promises';
import type { ArtifactReport } from '../api/artifact-report.ts';
import type { BuildStep } from '../api/event.ts';
import type { ImageType } from '../api/request.ts';
import { orAborted } from '../async.ts';
import { hashFile } from '../image/digest.ts';
import type { Log } from '../log.ts';
import type { ChosenStores } from '../store/choose.ts';
import { createLogFile } from './log-file.ts';
import { baseName } from './result.ts';
import { openWorkDirectory } from './work-directory.ts';

/** The whole log of one attempt at a build, for the store. A fault with it is a line in the worker's log, no more. */
export interface AttemptLog extends AsyncDisposable {
  /** Adds a line, which is clean and bounded; `step` is null before the first step. */
  add(line: string, step: BuildStep | null): void;
  /**
   * Puts the log into the store. The result is null where no step has begun, where the store takes images only, and
   * where it failed or was too slow. An attempt without a step that found the image of an earlier attempt gets the log
   * of that one. Never rejects.
   */
  keep(): Promise<ArtifactReport | null>;
}

export interface LoggedBuild {
  readonly buildId: string;
  readonly ticketId: string | number;
  readonly series: string;
  readonly imageType: ImageType;
}

export interface AttemptLogOptions {
  readonly workDirectory: string;
  /** Limit of the text. */
  readonly maximumLogBytes: number;
  readonly storeFor: ChosenStores['for'];
  /** Secrets of this worker. */
  readonly secrets: readonly string[];
  readonly log: Log;
}

/** Time for the log on its way to the store, after which the build ends without it. */
const keepMs = 10_000;
/** A shorter secret is a part of too many words. */
const leastSecretCharacters = 4;

/** Opens the log in a private folder of its own. `stopping` ends `keep` too. */
export async function openAttemptLog(
  build: LoggedBuild,
  stopping: AbortSignal,
  options: AttemptLogOptions,
): Promise<AttemptLog> {
  const { buildId, ticketId, series, imageType } = build;
  const { log } = options;
  const secrets = options.secrets.filter(({ length }) => length >= leastSecretCharacters);
  const work = await openWorkDirectory(options.workDirectory, buildId);
  const file = createLogFile(work.path, options.maximumLogBytes);
  let hasSteps = false;
  let broken = false;

  async function store(signal: AbortSignal): Promise<ArtifactReport | null> {
    const target = options.storeFor(imageType);
    if (!hasSteps) return await target.findLog(buildId, { signal });
    const path = await file.finish();
    const name = `${baseName(series, ticketId, buildId)}.log.gz`;
    const content = { name, path, mediaType: 'application/gzip', ...(await hashFile(path, { signal })) };
    return await target.keepLog({ role: 'log', ...content }, { buildId, ticketId, series }, { signal });
  }

  return {
    add(line, step) {
      if (broken) return;
      hasSteps ||= step !== null;
      const text = secrets.reduce((rest, secret) => rest.replaceAll(secret, '[secret]'), line);
      try {
        file.add(`${new Date().toISOString()} ${step ?? '-'} ${text}`);
      } catch (error) {
        broken = true;
        log.warn('the log of a build cannot be written', { error });
      }
    },
    async keep() {
      if (broken || stopping.aborted) return null;
      const signal = AbortSignal.any([stopping, AbortSignal.timeout(keepMs)]);
      try {
        return await orAborted(store(signal), signal);
      } catch (error) {
        log.warn('the log of a build is not kept', { error });
        return null;
      } finally {
        // Before the last event: a build that has ended leaves nothing behind.
        await rm(work.path, { recursive: true, force: true }).catch(() => {});
      }
    },
    [Symbol.asyncDispose]: () => work[Symbol.asyncDispose](),
  };
}
