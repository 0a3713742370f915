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

/** Takes the same lines while the build runs. Neither throws nor rejects. */
export interface LiveLog {
  add(line: string): void;
  /** Sends the rest; `isEnd`: the build ends with this attempt. */
  close(isEnd: boolean): Promise<void>;
}

export interface LoggedBuild {
  readonly buildId: string;
  readonly attempt: number;
  readonly ticketId: string | number;
  readonly series: string;
  /** Name of the caller who has submitted it; null where it is not known. */
  readonly caller: string | null;
  readonly imageType: ImageType;
}

export interface AttemptLogOptions {
  readonly workDirectory: string;
  /** Limit of the text. */
  readonly maximumLogBytes: number;
  readonly storeFor: ChosenStores['for'];
  /** Secrets of this worker. */
  readonly secrets: readonly string[];
  readonly live: LiveLog;
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
  const { buildId, attempt, ticketId, series, caller, imageType } = build;
  const { live, log } = options;
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
    return await target.keepLog({ role: 'log', ...content }, { buildId, ticketId, series, caller }, { signal });
  }

  function add(line: string, step: BuildStep | null): void {
    const text = secrets.reduce((rest, secret) => rest.replaceAll(secret, '[secret]'), line);
    const dated = `${new Date().toISOString()} ${step ?? '-'} ${text}`;
    live.add(dated);
    if (broken) return;
    try {
      file.add(dated);
    } catch (error) {
      broken = true;
      log.warn('the log of a build cannot be written', { error });
    }
  }

  if (attempt > 1) add(`attempt ${attempt} begins`, null);
  return {
    add(line, step) {
      hasSteps ||= step !== null;
      add(line, step);
    },
    async keep() {
      // Before the last event: who sees that the build has ended can read its log to the end.
      const sent = live.close(true);
      const signal = AbortSignal.any([stopping, AbortSignal.timeout(keepMs)]);
      try {
        return broken || stopping.aborted ? null : await orAborted(store(signal), signal);
      } catch (error) {
        log.warn('the log of a build is not kept', { error });
        return null;
      } finally {
        await sent;
        // Before the last event: a build that has ended leaves nothing behind.
        await rm(work.path, { recursive: true, force: true }).catch(() => {});
      }
    },
    async [Symbol.asyncDispose]() {
      await live.close(false);
      await work[Symbol.asyncDispose]();
    },
  };
}
