import type { BuildStep, GuestReport } from '../api/event.ts';

/** Reports the progress of a build. The worker turns the reports into events. */
export interface BuildReporter {
  /** A new step begins. */
  begin(step: BuildStep, message: string): void;
  /** How far the step is, in its own unit; `total` null where that is not known. */
  progress(current: number, total: number | null, message?: string): void;
  /** A message that users should read. */
  notice(message: string): void;
  /** A line of the build's log. */
  log(line: string): void;
  /** How this worker opens images: a line of the log, and a member of the next event. */
  guest(report: GuestReport): void;
}
