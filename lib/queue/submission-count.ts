import { maximumBuildsAnHour } from '../callers.ts';
import { dropOldest } from './drop-oldest.ts';

/** Counts the recent submissions of each caller, in bounded memory. */
export interface SubmissionCount {
  add(caller: string, buildId: string, time: string): void;
  /** Takes back a submission that was finally refused. */
  remove(caller: string, buildId: string): void;
  /** Times of the caller's submissions within the hour before `now`, oldest first; milliseconds since the epoch. */
  withinHour(caller: string, now: Date): number[];
}

const hourMs = 3_600_000;
/** More callers than a service has: they come and go within the retention of the stream. */
const maximumCallers = 1_000;

export function createSubmissionCount(): SubmissionCount {
  /** Times of submissions by build, by caller. */
  const submissions = new Map<string, Map<string, number>>();
  return {
    add(caller, buildId, time) {
      const own = submissions.get(caller) ?? new Map<string, number>();
      own.set(buildId, Date.parse(time));
      dropOldest(own, maximumBuildsAnHour);
      // Moves it to the end of the map: the caller that has been silent for longest goes first.
      submissions.delete(caller);
      submissions.set(caller, own);
      dropOldest(submissions, maximumCallers);
    },
    remove(caller, buildId) {
      submissions.get(caller)?.delete(buildId);
    },
    withinHour(caller, now) {
      const from = now.getTime() - hourMs;
      return [...(submissions.get(caller)?.values() ?? [])].filter((time) => time > from).sort((a, b) => a - b);
    },
  };
}
