import { setTimeout as sleep } from 'node:timers/promises';
import { type CronSchedule, cronMatches } from './cron.ts';

/** Tells the time and waits; tests pass another one. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Resolves after `ms` milliseconds; rejects when the signal aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) => sleep(ms, undefined, { signal, ref: false }),
};

export interface ScheduleEntry {
  readonly schedule: CronSchedule;
  readonly fire: () => void;
}

const minuteMs = 60_000;

/**
 * Fires each entry at the beginning of every minute in its schedule, until the signal aborts. Minutes missed in a
 * suspended machine are not made up for.
 */
export async function runSchedule(entries: readonly ScheduleEntry[], clock: Clock, signal: AbortSignal): Promise<void> {
  if (entries.length === 0) return;
  let minute = Math.floor(clock.now() / minuteMs) + 1;
  while (!signal.aborted) {
    const now = clock.now();
    if (now < minute * minuteMs) {
      try {
        await clock.sleep(minute * minuteMs - now, signal);
      } catch {
        return;
      }
      continue; // A timer may end a little early: look again.
    }
    minute = Math.floor(now / minuteMs);
    for (const entry of entries) if (cronMatches(entry.schedule, minute * minuteMs)) entry.fire();
    minute += 1;
  }
}
