import type { BuildView } from '../queue/build.ts';

/**
 * Recognises builds whose job is gone: a queue was purged or deleted, a node of RabbitMQ is lost with its data. RabbitMQ
 * says nothing of that, but the ledger still has the build.
 *
 * A job that exists waits in the queue, is in the hands of a worker, or is leased, from where it comes back. So a look
 * that finds the queue empty finds the job of a waiting build in somebody's hands or leased. Looks are further apart
 * than both take: for every further look with the same finding, another worker must have died with the job in its
 * hands. After three of them the job is gone.
 */
export interface LostBuilds {
  /**
   * Takes note that the queue was empty while these builds waited for a worker. Returns those among them that are to be
   * ended: their jobs are gone, or they were cancelled and nobody takes them.
   */
  look(waiting: readonly WaitingBuild[], nowMs: number): BuildView[];
}

export interface WaitingBuild {
  readonly build: BuildView;
  /** Time since its last event. */
  readonly quietMs: number;
}

/** How long a worker may have a job in its hands: a frozen one loses it with its connection, after three heartbeats. */
export const handMs = 90_000;
/** A cancelled build is left to the worker that is just taking it for this long. */
const cancelledQuietMs = 10_000;
const looksForLost = 3;

/** `leaseMs`: length of a lease. `heldMs`: longest time that a worker has a job in its hands. */
export function createLostBuilds(leaseMs: number, heldMs: number): LostBuilds {
  const suspects = new Map<string, { readonly sequence: number; looks: number; lastMs: number }>();
  return {
    look(waiting, nowMs) {
      const ids = new Set(waiting.map(({ build }) => build.buildId));
      for (const id of suspects.keys()) if (!ids.has(id)) suspects.delete(id);
      const lost = ({ build: { buildId, sequence, cancelling }, quietMs }: WaitingBuild) => {
        if (cancelling && quietMs >= Math.min(cancelledQuietMs, heldMs)) return true;
        const suspect = suspects.get(buildId);
        if (suspect?.sequence !== sequence) {
          suspects.set(buildId, { sequence, looks: 1, lastMs: nowMs });
          return false;
        }
        if (nowMs - suspect.lastMs < leaseMs + heldMs) return false;
        suspect.looks += 1;
        suspect.lastMs = nowMs;
        return suspect.looks >= looksForLost;
      };
      return waiting.filter(lost).map(({ build }) => build);
    },
  };
}
