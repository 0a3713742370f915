import type { BuildEvent, GuestReport } from '../api/event.ts';
import { dropOldest } from './drop-oldest.ts';
import type { StreamRecord } from './record.ts';

/** A worker by its events and records. */
export interface SeenWorker {
  readonly name: string;
  readonly lastSeenAt: string;
  /** How it opens images; null while it has not reported that. */
  readonly guest: GuestReport | null;
  /** The reason why it takes no build, by its newest record; null where it can. */
  readonly unable: string | null;
  /** True once it has ended in order. */
  readonly stopped: boolean;
}

/** The workers with events or records in the stream, in bounded memory. */
export interface SeenWorkers {
  note(event: BuildEvent): void;
  noteRecord(record: Extract<StreamRecord, { kind: 'worker' }>): void;
  /** The newest first. */
  list(): SeenWorker[];
}

/** A worker shows itself so often, also while it has nothing to do. */
export const showEveryMs = 5 * 60_000;
/** A worker that has not shown itself for so long counts as dead. */
export const livesForMs = 2 * showEveryMs + 60_000;

const maximumWorkers = 200;

export function createSeenWorkers(): SeenWorkers {
  const workers = new Map<string, SeenWorker>();
  const put = (worker: SeenWorker) => {
    workers.delete(worker.name);
    workers.set(worker.name, worker);
    dropOldest(workers, maximumWorkers);
  };
  return {
    note({ worker: name, time, guest }) {
      if (name === null) return;
      const known = workers.get(name);
      const { unable = null } = known ?? {};
      put({ name, lastSeenAt: time, guest: guest ?? known?.guest ?? null, unable, stopped: false });
    },
    noteRecord({ worker: name, time, unable, stopped = false }) {
      put({ name, lastSeenAt: time, guest: workers.get(name)?.guest ?? null, unable, stopped });
    },
    list: () => [...workers.values()].reverse(),
  };
}

/** Whether the worker is there at `now`, as far as one can tell. */
export function isLiving({ lastSeenAt, stopped }: SeenWorker, now: Date): boolean {
  return !stopped && now.getTime() - Date.parse(lastSeenAt) < livesForMs;
}

/** The living workers, where there are some and none of them can build; null otherwise. */
export function allUnable(workers: readonly SeenWorker[], now: Date): readonly SeenWorker[] | null {
  const living = workers.filter((worker) => isLiving(worker, now));
  return living.length > 0 && living.every(({ unable }) => unable !== null) ? living : null;
}

const namedWorkers = 3;

/** The reason why a build that is submitted at `now` has to wait for more than its turn; null where there is none. */
export function whyNoneBuilds(workers: readonly SeenWorker[], now: Date): string | null {
  const unable = allUnable(workers, now);
  if (unable !== null) {
    const named = unable.slice(0, namedWorkers).map(({ name, unable: reason }) => `${name}: ${reason}`);
    const more = unable.length > named.length ? [`and ${unable.length - named.length} more`] : [];
    return `no worker can build now (${[...named, ...more].join('; ')}); the build waits until one can`;
  }
  if (workers.some((worker) => isLiving(worker, now))) return null;
  return 'no worker is known to be running; the build waits until one starts';
}
