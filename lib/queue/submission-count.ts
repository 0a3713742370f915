import { maximumBuildsAnHour } from '../callers.ts';

/** How many builds each caller has submitted of late, bounded in memory whatever is submitted. */
export interface SubmissionCount {
  add(caller: string, buildId: string, time: string): void;
  /** Takes back a submission that was refused in the end. */
  remove(caller: string, buildId: string): void;
  /** When the caller submitted within the hour before `now`, oldest first; milliseconds since the epoch. */
  withinHour(caller: string, now: Date): number[];
}

const hourMs = 3_600_000;
/** More than a service has: callers come and go within the retention of the stream. */
const maximumCallers = 1_000;

export function createSubmissionCount(): SubmissionCount {
  /** Times by build, by caller. */
  const submissions = new Map<string, Map<string, number>>();
  return {
    add(caller, buildId, time) {
      const own = submissions.get(caller) ?? new Map<string, number>();
      own.set(buildId, Date.parse(time));
      dropOldest(own, maximumBuildsAnHour);
      // To the end of the map: the caller that has been silent for longest goes first.
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

function dropOldest(entries: Map<string, unknown>, maximum: number): void {
  const [oldest] = entries.keys();
  if (entries.size > maximum && oldest !== undefined) entries.delete(oldest);
}
