import { randomUUID } from 'node:crypto';
import { within } from '../async.ts';
import { ImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Verdict } from './build.ts';
import type { BrokerConnection } from './connection.ts';
import { createLedger } from './ledger.ts';
import { createLiveLedger, type LiveLedger, unreadable } from './live-ledger.ts';
import { encodeRecord, type StreamRecord } from './record.ts';
import { createRefresh } from './refresh.ts';
import { createRefresher } from './refresher.ts';
import { recordsOf } from './restored.ts';
import { readStream } from './stream-reader.ts';
import { queues } from './topology.ts';

export interface Follower extends AsyncDisposable {
  readonly ledger: LiveLedger;
  /**
   * Appends a record and resolves with its verdict, once it has come back through the stream: everything before it has
   * been read then. Throws `broker.unreachable` when `patienceMs` is over; the record may be in the stream all the
   * same.
   */
  append(record: StreamRecord, patienceMs: number): Promise<Verdict>;
}

export interface FollowerOptions {
  readonly forgetAfterSeconds: number;
  /** Memory for finished builds. */
  readonly historyBytes: number;
  /** Size of the stream beyond which RabbitMQ drops the oldest records. */
  readonly retentionBytes: number;
  /** Processes that follow one stream spread their refreshing of it over this time. */
  readonly refreshSpreadMs: number;
  readonly log: Log;
}

const restorePatienceMs = 10_000;

/** Starts following. Returns at once; `ready` of its ledger resolves when the past has been read. */
export function followEvents(connection: BrokerConnection, options: FollowerOptions): Follower {
  const { forgetAfterSeconds, historyBytes, log } = options;
  const stopping = new AbortController();
  /** Records of this process that it has not read yet. */
  const waiting = new Map<string, (verdict: Verdict) => void>();

  const append = async (record: StreamRecord, patienceMs: number): Promise<Verdict> => {
    const deadline = Date.now() + patienceMs;
    const seen = new Promise<Verdict>((resolve) => waiting.set(record.id, resolve));
    try {
      await connection.publish(
        {
          queue: queues.events,
          content: encodeRecord(record),
          messageId: record.id,
          type: `imagebuilder.${record.kind}`,
        },
        patienceMs,
      );
      return await within(seen, deadline - Date.now());
    } catch (error) {
      if (error instanceof ImageBuilderError) throw error;
      throw unreadable('the events in RabbitMQ could not be read in time');
    } finally {
      waiting.delete(record.id);
    }
  };

  const mark = (patienceMs: number) => append({ kind: 'marker', id: randomUUID() }, patienceMs);

  const ledger = createLiveLedger({
    connection,
    newLedger: () => createLedger({ forgetAfterSeconds, historyBytes }),
    caughtUpSince: () => reader.caughtUpSince,
    lacking: () => reader.lacking,
    sync: mark,
    log,
  });
  /** Makes the builds of a stream that was deleted known to the new one. */
  const restore = async (records: readonly StreamRecord[]) => {
    try {
      await ledger.ready();
      for (const record of records) await append(record, restorePatienceMs);
    } catch (error) {
      if (!stopping.signal.aborted) log.warn('builds of the former events stream are not in the new one', { error });
    }
  };

  const newRefresh = () => createRefresh({ ledger, ...options });
  let refresh = newRefresh();
  const refreshIfDue = createRefresher({
    refresh: () => refresh,
    ledger,
    append,
    spreadMs: options.refreshSpreadMs,
    signal: stopping.signal,
    log,
  });

  const reader = readStream(connection, {
    take(record, bytes) {
      const verdict = ledger.take(record);
      refresh.note(record, verdict, bytes);
      waiting.get(record.id)?.(verdict);
      if (ledger.caughtUp) refreshIfDue();
    },
    mark,
    onCaughtUp: ledger.noteCaughtUp,
    onOtherStream() {
      const known = ledger.builds(new Date()).flatMap(recordsOf);
      ledger.forget();
      refresh = newRefresh();
      void restore(known);
    },
    log,
  });

  return {
    ledger,
    append,
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await reader[Symbol.asyncDispose]();
    },
  };
}
