import { Readable } from 'node:stream';
import type { ArtifactReport } from '#lib/api/artifact-report.ts';
import type { ByteRange } from '#lib/api/byte-range.ts';
import type { Call } from '#lib/api/call.ts';
import { isTerminal } from '#lib/api/event.ts';
import { createEventStreams } from '#lib/api/event-streams.ts';
import { followsLog, lastEventId } from '#lib/api/log-query.ts';
import { storedLogEvents } from '#lib/api/log-stream.ts';
import { sendText } from '#lib/api/send-text.ts';
import type { Broker } from '#lib/queue/broker.ts';
import type { BuildView } from '#lib/queue/build.ts';
import type { LogCopy } from '#lib/queue/log-copy.ts';
import type { FunctionContext, FunctionEvent } from '../../template/node24-ts/function.ts';
import { liveEvents } from './log-events.ts';
import { openStoredLog } from './stored-log.ts';

/** `GET /{build_id}/log`: the log of a build, while it runs and afterwards, as text or as server-sent events. */

export interface LogDependencies {
  readonly broker: Pick<Broker, 'ledger' | 'logs'>;
  /** Folder of the file store, which may be on another machine. */
  readonly storeDirectory: string;
}

/** Answers calls for logs, a bounded number of streams at a time. */
export type AnswerLog = (
  build: BuildView,
  event: FunctionEvent,
  context: Pick<FunctionContext, 'disconnected'>,
  call: Call,
) => Promise<unknown>;

/** A template has 1000 connections for all calls. */
const maximumStreams = 500;

/** Time after the end of a build for which RabbitMQ surely has its lines: it keeps them for a day. */
const surelyThereMs = 3_600_000;

export function createAnswerLog({ broker, storeDirectory }: LogDependencies): AnswerLog {
  const streams = createEventStreams({
    maximum: maximumStreams,
    busy: 'logs are being followed, as many as this function takes at a time',
  });
  const stream = (call: Call, events: AsyncGenerator<string, void>): Readable => {
    const opened = streams.open(events);
    call.headers({ 'content-type': 'text/event-stream' });
    return opened;
  };

  return async (build, event, { disconnected }, call) => {
    const follow = followsLog(event);
    const { buildId, startedAt, finishedAt } = build;
    const artifact = isTerminal(build.state) ? build.event.artifacts?.find(({ role }) => role === 'log') : undefined;
    const stored = artifact === undefined ? null : await openStoredLog(storeDirectory, buildId, artifact);
    if (follow) {
      const at = lastEventId(event);
      if (stored !== null && !(at > 0 && (await isPlaceWhileRunning(broker, build, at)))) {
        const from = Math.min(at, stored.size);
        return stream(call, storedLogEvents(stored.read({ from, to: stored.size }), build, from));
      }
      const ended = finishedAt === null ? Number.NaN : Date.parse(finishedAt);
      if (artifact?.store === 'swift' && Date.now() - ended > surelyThereMs) {
        // The function that may read the store, below the same path as this one.
        call.status(307);
        call.headers({ location: `../../images/${buildId}/log?follow`, 'cache-control': 'no-store' });
        return undefined;
      }
      return stream(call, liveEvents(broker, { buildId, at, gone: disconnected }));
    }
    if (stored !== null) return sendText(event, call, stored.size, true, (range) => Readable.from(stored.read(range)));
    const elsewhere = placeElsewhere(event, buildId, artifact);
    if (elsewhere !== null) {
      call.status(307);
      call.headers({ location: elsewhere, 'cache-control': 'no-store' });
      return undefined;
    }
    if (startedAt === null) return sendText(event, call, 0, false, () => Readable.from([]));
    const copy = await broker.logs.open({ buildId, startedAt, finishedAt });
    const read = (range: ByteRange) => Readable.from(partsOf(copy, range));
    try {
      const text = sendText(event, call, copy.size, finishedAt !== null, read, copy.isWhole);
      return text.once('close', () => copy[Symbol.dispose]());
    } catch (error) {
      copy[Symbol.dispose]();
      throw error;
    }
  };
}

/**
 * Where a log in Swift is: packed, by its own URL; or as text, of which alone a caller can have a part, from the function that
 * may read Swift. Null for a log in a folder, and for none.
 */
function placeElsewhere(
  { headers }: FunctionEvent,
  buildId: string,
  artifact: ArtifactReport | undefined,
): string | null {
  const packed = artifact?.download_url ?? artifact?.location ?? '';
  if (!/^https?:/.test(packed)) return null;
  return headers.range === undefined ? packed : `../../images/${buildId}/log`;
}

/**
 * Whether a reader has followed the build while it ran, and so goes on in the text that RabbitMQ has. That in the store has
 * other places: it begins with the last attempt, is cut elsewhere where it is too large, and has the lines that RabbitMQ did
 * not take. `at` is the reader's place; where two texts have a line that ends there, that of RabbitMQ counts.
 */
async function isPlaceWhileRunning(
  { logs }: LogDependencies['broker'],
  { buildId, startedAt, finishedAt, attempt }: BuildView,
  at: number,
): Promise<boolean> {
  if (startedAt === null) return false;
  try {
    using copy = await logs.open({ buildId, startedAt, finishedAt });
    const part = await copy.read(at - 1);
    return part?.from === at - 1 && part.text[0] === 0x0a;
  } catch {
    return attempt > 1;
  }
}

async function* partsOf(copy: LogCopy, { from, to }: ByteRange): AsyncGenerator<Buffer, void> {
  for (let at = from; at < to; ) {
    const part = await copy.read(at);
    if (part === null) throw new Error('the log of a build was given up while it was being read');
    if (part.from > at) yield Buffer.from(`(${part.from - at} bytes are missing here)\n`);
    const text = part.text.subarray(0, to - part.from);
    yield text;
    at = part.from + text.length;
  }
}
