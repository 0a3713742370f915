import type { ArtifactReport } from '../api/artifact-report.ts';
import type { Log } from '../log.ts';
import type { AttemptLog, LoggedBuild } from '../pipeline/attempt-log.ts';
import type { BuildJob } from '../queue/job.ts';
import { boundKeptLine, boundLine } from './event-limits.ts';
import type { Outcome, Reporter } from './reporter.ts';

export interface WholeLogOptions {
  /** Opens the whole log of an attempt. */
  readonly openLog: (build: LoggedBuild, stopping: AbortSignal) => Promise<AttemptLog>;
  readonly log: Log;
}

/** Opens the whole log of an attempt; null where it cannot be written, which ends no build. */
export async function openWholeLog(
  job: BuildJob,
  attempt: number,
  stopping: AbortSignal,
  { openLog, log }: WholeLogOptions,
): Promise<AttemptLog | null> {
  const { ticket_id: ticketId, base_image: base } = job.request;
  const build: LoggedBuild = {
    ...{ buildId: job.build_id, attempt, ticketId, caller: job.submission?.caller ?? null },
    ...{ series: base.series, imageType: base.image_type },
  };
  try {
    return await openLog(build, stopping);
  } catch (error) {
    log.warn('the log of a build cannot be written', { error });
    return null;
  }
}

/** Adds how the build has ended, and puts the log into the store. */
export async function keepWholeLog(
  wholeLog: AttemptLog,
  outcome: Outcome,
  reporter: Pick<Reporter, 'step' | 'logTail'>,
): Promise<ArtifactReport | null> {
  for (const line of endLines(outcome, reporter)) wholeLog.add(boundKeptLine(line), reporter.step);
  return await wholeLog.keep();
}

/** With those lines of the error that the log does not have yet. */
function endLines(outcome: Outcome, reporter: Pick<Reporter, 'logTail'>): string[] {
  if (outcome.state === 'completed') return [`completed: the image is at ${outcome.image.location}`];
  const { code, message, logTail } = outcome.error;
  const written = new Set(reporter.logTail(Number.MAX_SAFE_INTEGER));
  return [...logTail.filter((line) => !written.has(boundLine(line))), `${outcome.state}: ${message} (${code})`];
}
