import type { BuildEvent, GuestReport } from '../api/event.ts';
import { dropOldest } from './drop-oldest.ts';

/** A worker by its events. */
export interface SeenWorker {
  readonly name: string;
  readonly lastSeenAt: string;
  /** How it opens images; null while it has not reported that. */
  readonly guest: GuestReport | null;
}

/** The workers with events in the stream, in bounded memory. */
export interface SeenWorkers {
  note(event: BuildEvent): void;
  /** The newest first. */
  list(): SeenWorker[];
}

const maximumWorkers = 200;

export function createSeenWorkers(): SeenWorkers {
  const workers = new Map<string, SeenWorker>();
  return {
    note({ worker, time, guest }) {
      if (worker === null) return;
      const known = workers.get(worker)?.guest ?? null;
      workers.delete(worker);
      workers.set(worker, { name: worker, lastSeenAt: time, guest: guest ?? known });
      dropOldest(workers, maximumWorkers);
    },
    list: () => [...workers.values()].reverse(),
  };
}
