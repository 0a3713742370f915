import type { Metrics } from '#lib/metrics/metrics.ts';
import type { LiveLedger } from '#lib/queue/live-ledger.ts';
import { isLiving } from '#lib/queue/seen-workers.ts';

type Read = Pick<LiveLedger, 'caughtUp' | 'counts' | 'waiting' | 'workers'>;

/**
 * Shows the builds and workers of the ledger as gauges. Every replica of `status` has the same ledger, so a dashboard takes
 * their maximum. While the past is being read, nothing is shown: half of the builds would look like an answer.
 */
export function showLedger(metrics: Metrics, ledger: Read): void {
  const whenRead =
    <Value>(read: () => readonly Value[]) =>
    () =>
      ledger.caughtUp ? read() : [];
  metrics.gauge(
    { name: 'imagebuilder_ledger_ready', help: 'Whether the events stream has been read: 1 or 0', labels: [] },
    () => [[{}, ledger.caughtUp ? 1 : 0]],
  );
  metrics.gauge(
    {
      name: 'imagebuilder_builds',
      help: 'Builds in the events stream, by state',
      labels: ['state'],
    },
    whenRead(() =>
      Object.entries(ledger.counts(new Date(), null)).map(([state, count]) => [{ state }, count] as const),
    ),
  );
  metrics.gauge(
    { name: 'imagebuilder_queue_length', help: 'Builds that wait for a worker', labels: [] },
    whenRead(() => [[{}, ledger.waiting(new Date()).size] as const]),
  );
  metrics.gauge(
    {
      name: 'imagebuilder_queue_oldest_seconds',
      help: 'Time for which the build that waits longest has waited; 0 where none waits',
      labels: [],
    },
    whenRead(() => {
      const now = new Date();
      const [oldest] = ledger.waiting(now).values();
      const sinceMs = oldest === undefined ? 0 : now.getTime() - Date.parse(oldest.updatedAt);
      return [[{}, Math.max(0, sinceMs / 1000)] as const];
    }),
  );
  metrics.gauge(
    {
      name: 'imagebuilder_workers',
      help: 'Workers that live, by whether they take builds',
      labels: ['state'],
    },
    whenRead(() => {
      const living = ledger.workers().filter((worker) => isLiving(worker, new Date()));
      const able = living.filter(({ unable }) => unable === null).length;
      return [[{ state: 'able' }, able] as const, [{ state: 'unable' }, living.length - able] as const];
    }),
  );
  metrics.gauge(
    {
      name: 'imagebuilder_worker_guests',
      help: 'Workers that live and have opened an image, by guest and accelerator (none: of the host guest)',
      labels: ['guest', 'accelerator'],
    },
    whenRead(() => {
      const counts = new Map<string, number>();
      for (const worker of ledger.workers()) {
        if (worker.guest === null || !isLiving(worker, new Date())) continue;
        const key = `${worker.guest.kind} ${worker.guest.accelerator ?? 'none'}`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      return [...counts].map(([key, count]) => {
        const [guest = '', accelerator = ''] = key.split(' ');
        return [{ guest, accelerator }, count] as const;
      });
    }),
  );
}
