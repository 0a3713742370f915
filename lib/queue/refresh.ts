import { randomUUID } from 'node:crypto';
import { type BuildView, isNewest, type Verdict } from './build.ts';
import type { Ledger } from './ledger.ts';
import type { StreamRecord } from './record.ts';
import { withoutLog } from './restored.ts';

/**
 * Keeps builds that have not ended in the stream. RabbitMQ drops the oldest records of a full stream, and with them the
 * registration of a build that waits for long. Functions that start later would not know that build, answer 404 for it,
 * and take the same request for a new one. So the newest event of such a build is appended again in time. It changes
 * nothing for functions that know the build, and registers it with the others.
 */
export interface Refresh {
  /** Takes note of a record that was read, after the ledger has applied it. `bytes`: size of its message. */
  note(record: StreamRecord, verdict: Verdict, bytes: number): void;
  /** True where `next` may return records. Costs almost nothing. */
  isDue(): boolean;
  /** The records of one build to be appended again; null where none is due. */
  next(now: Date): readonly StreamRecord[] | null;
}

export interface RefreshOptions {
  readonly ledger: Pick<Ledger, 'get' | 'isOver'>;
  /** Size of the stream beyond which RabbitMQ drops the oldest records. */
  readonly retentionBytes: number;
  /** An unfinished build without an event for this long counts as lost. */
  readonly forgetAfterSeconds: number;
}

type EventRecord = Extract<StreamRecord, { kind: 'event' }>;

/** Properties of a message and a stream's own bytes for it, measured with RabbitMQ 3.10 and 4.0. */
const messageOverheadBytes = 250;
/** The part of the bytes written to the stream that may be written again. A flood of builds must not feed itself. */
const share = 1 / 4;
/** Equal submissions, sent at the same time, that are remembered with the build that won. */
const maximumTwins = 100;

/** Starts with a stream that has not been read yet. */
export function createRefresh({ ledger, retentionBytes, forgetAfterSeconds }: RefreshOptions): Refresh {
  const dueAfterBytes = retentionBytes / 4;
  const longestAllowance = dueAfterBytes / 4;
  /**
   * Unfinished builds, in the order of their newest events, oldest first, with the positions of these in the stream.
   */
  const unfinished = new Map<string, { readonly position: number; readonly submission: EventRecord['submission'] }>();
  /** By the build that won: first records of builds that it has superseded, whose jobs may wait behind its own. */
  const twins = new Map<string, Map<string, EventRecord>>();
  let position = 0;
  let allowance = longestAllowance;

  const noteTwin = (record: EventRecord, winner: string) => {
    const known = twins.get(winner) ?? new Map<string, EventRecord>();
    if (known.size < maximumTwins && unfinished.has(winner))
      twins.set(winner, known.set(record.event.build_id, record));
  };

  return {
    note(record, verdict, bytes) {
      const size = bytes + messageOverheadBytes;
      position += size;
      allowance = Math.min(longestAllowance, allowance + size * share);
      if (record.kind === 'marker' || record.kind === 'worker') return;
      const buildId = record.kind === 'event' ? record.event.build_id : record.build_id;
      const build = ledger.get(buildId);
      if (ledger.isOver(buildId)) {
        unfinished.delete(buildId);
        twins.delete(buildId);
        const winner = build?.supersededBy ?? null;
        if (record.kind === 'event' && verdict === 'superseded' && winner !== null) noteTwin(record, winner);
        return;
      }
      if (record.kind !== 'event' || build === undefined || !isNewest(record.event, build)) return;
      const submission = record.submission ?? unfinished.get(buildId)?.submission;
      unfinished.delete(buildId);
      unfinished.set(buildId, { position, submission });
    },

    isDue() {
      const [oldest] = unfinished.values();
      return oldest !== undefined && position - oldest.position >= dueAfterBytes;
    },

    next(now) {
      for (const [buildId, { position: at, submission }] of unfinished) {
        if (position - at < dueAfterBytes) return null;
        const build = ledger.get(buildId);
        if (build === undefined || now.getTime() - Date.parse(build.updatedAt) > forgetAfterSeconds * 1000) {
          unfinished.delete(buildId);
          continue;
        }
        const records = recordsOf(build, submission, [...(twins.get(buildId)?.values() ?? [])]);
        const size = records.reduce((sum, record) => sum + sizeOf(record), 0);
        if (size > allowance) return null;
        allowance -= size;
        // If the record does not arrive, there are three more turns before the first one is dropped.
        unfinished.delete(buildId);
        unfinished.set(buildId, { position, submission });
        return records;
      }
      return null;
    },
  };

  function recordsOf(build: BuildView, submission: EventRecord['submission'], equal: EventRecord[]): StreamRecord[] {
    const records: StreamRecord[] = [
      { kind: 'event', id: randomUUID(), event: withoutLog(build.event), ...(submission && { submission }) },
    ];
    if (build.cancelling) {
      records.push({ kind: 'cancel', id: randomUUID(), build_id: build.buildId, time: build.updatedAt });
    }
    let size = records.reduce((sum, record) => sum + sizeOf(record), 0);
    for (const twin of equal) {
      size += sizeOf(twin);
      if (size > longestAllowance / 2) break;
      records.push({ ...twin, id: randomUUID() });
    }
    return records;
  }
}

function sizeOf(record: StreamRecord): number {
  return Buffer.byteLength(JSON.stringify(record)) + messageOverheadBytes;
}
