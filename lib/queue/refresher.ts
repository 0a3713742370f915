import { randomUUID } from 'node:crypto';
import { sleep } from '../async.ts';
import type { Log } from '../log.ts';
import type { Verdict } from './build.ts';
import type { Ledger } from './ledger.ts';
import type { StreamRecord } from './record.ts';
import type { Refresh } from './refresh.ts';

export interface RefresherOptions {
  readonly refresh: () => Refresh;
  readonly ledger: Pick<Ledger, 'get'>;
  readonly append: (record: StreamRecord, patienceMs: number) => Promise<Verdict>;
  /** Processes that follow one stream spread their refreshing of it over this time. */
  readonly spreadMs: number;
  readonly signal: AbortSignal;
  readonly log: Log;
}

const refreshPatienceMs = 10_000;

/**
 * Appends records of unfinished builds again that RabbitMQ would drop soon. As a rule one process does it: the first.
 * The function that it returns begins with that where it is due and not under way.
 */
export function createRefresher({ refresh, ledger, append, spreadMs, signal, log }: RefresherOptions): () => void {
  let underWay = false;

  const appendAgain = async (record: StreamRecord) => {
    const verdict = await append(record, refreshPatienceMs);
    if (record.kind !== 'event' || verdict !== 'finished') return;
    // The build ended in this very moment: a reader that finds the one event must find the other behind it.
    const end = ledger.get(record.event.build_id);
    if (end !== undefined) await append({ ...record, id: randomUUID(), event: end.event }, refreshPatienceMs);
  };

  const run = async () => {
    underWay = true;
    try {
      await sleep(Math.random() * spreadMs, signal);
      for (let records = refresh().next(new Date()); records !== null; records = refresh().next(new Date())) {
        for (const record of records) await appendAgain(record);
      }
    } catch (error) {
      if (!signal.aborted) log.info('unfinished builds not refreshed in the stream', { error });
    } finally {
      underWay = false;
    }
  };

  return () => {
    if (!underWay && refresh().isDue()) void run();
  };
}
