import { sleep } from '../async.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import { renderAptConfiguration } from './configuration.ts';
import { readContradiction } from './contradiction.ts';
import type { KnownRepositories } from './repository.ts';
import { type AptRun, runApt, texts } from './script.ts';
import { filesToAdd, type SourceFile } from './sources.ts';
import { parseStatusLine } from './status-line.ts';
import { isPassing, updateError, updateWarnings } from './update-failure.ts';

/** How far a step is: `current` of `total`, in percent or packages as the step says. */
export interface AptProgress {
  readonly current: number;
  readonly total: number;
  readonly message: string;
}

export interface UpdateOptions extends KnownRepositories {
  readonly proxyUrl: string | null;
  readonly signal: AbortSignal;
  readonly onLog: (line: string) => void;
  /** Called with news for the result, in words: a source that is left out, or is used without a signature. */
  readonly onWarning: (message: string) => void;
  /** In percent. */
  readonly onProgress: (progress: AptProgress) => void;
  /** Files of sources that the image gets before, where its apt is known to read them there. Default: none. */
  readonly added?: readonly SourceFile[];
  /** A folder of the worker with the index of `AptCaches.takeIndex`. Default: none. */
  readonly index?: string | undefined;
  /** Take nothing from the proxy's cache. Default false; a retry always does so. */
  readonly anew?: boolean;
  /** Pauses before lists that are out of step are fetched again. */
  readonly retryPausesMs?: readonly number[];
}

/** A mirror in the middle of its update is consistent again within seconds, where it is run as archives recommend. */
const retryPausesMs: readonly number[] = [5_000, 20_000];

/**
 * Fetches the package lists of every source of the image. One failing repository makes the update fail, as the packages
 * wanted from it would be missing or old: throws `ppa.series`, `apt.repository`, `apt.signature`, `egress.refused` or
 * `upstream.*`, naming every such PPA or repository and why. Where the only fault is that lists are damaged or do not
 * fit together, they are fetched again first: a mirror in the middle of its own update looks like that.
 */
export async function updateLists(runner: ScriptRunner, options: UpdateOptions): Promise<void> {
  const pausesMs = options.retryPausesMs ?? retryPausesMs;
  for (let attempt = 0; ; attempt += 1) {
    const anew = options.anew === true || attempt > 0;
    const run = await update(runner, { ...options, anew });
    const error = updateError(run.lines, run.exitCode, options, await readContradiction(runner, run.lines));
    if (error === null) {
      for (const warning of updateWarnings(run.lines, options)) options.onWarning(warning);
      return;
    }
    const pauseMs = pausesMs[attempt];
    if (pauseMs === undefined || !isPassing(run.lines)) throw error;
    options.onLog(`${error.message}; trying again in ${Math.round(pauseMs / 1000)} seconds`);
    await sleep(pauseMs, options.signal);
  }
}

function update(runner: ScriptRunner, options: UpdateOptions): Promise<AptRun> {
  const { added = [], index } = options;
  const adding = added.length === 0 ? {} : { 'add-sources': texts['add-sources'], ...filesToAdd(added) };
  return runApt(runner, 'update', {
    files: { 'apt.conf': renderAptConfiguration(options), ...adding },
    ...(index === undefined ? {} : { folder: index }),
    onLine: options.onLog,
    onStatusLine: (line) => {
      const status = parseStatusLine(line);
      if (status !== null) {
        options.onProgress({ current: Math.floor(status.percent), total: 100, message: status.message });
      }
    },
  });
}
