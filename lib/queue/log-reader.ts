import { randomUUID } from 'node:crypto';
import type { ConfirmChannel, ConsumeMessage } from 'amqplib';
import { pause, within } from '../async.ts';
import { ImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import { type BrokerConnection, closeQuietly } from './connection.ts';
import { unreadable } from './live-ledger.ts';
import { type LogChunk, markerMessage, readLogMessage } from './log-chunk.ts';
import { createLogCopy, type FedLogCopy, type LogCopy } from './log-copy.ts';
import { amqpCode, queues } from './topology.ts';

/** Reads the logs of builds from the logs stream, those that somebody asks for, each once for all who read it. */
export interface LogReader extends AsyncDisposable {
  /**
   * The log of a build as far as the stream has it now; what comes later is added to it. Dispose it after use. Throws
   * `broker.unreachable`, and `worker.busy` where too many logs are being read.
   */
  open(build: LoggedBuild): Promise<LogCopy & Disposable>;
}

export interface LoggedBuild {
  readonly buildId: string;
  /** ISO 8601. */
  readonly startedAt: string;
  /** ISO 8601; null where it has not ended. */
  readonly finishedAt: string | null;
}

/** Memory for the logs that are being read, compressed: beyond it, no more are opened, and the one that grows is cut. */
const maximumBytes = 64 * 1024 * 1024;
/** Time for which the log of a build is kept after the last reader: readers that come back are frequent. */
const keepMs = 20_000;
const channelPatienceMs = 6_000;
/** Time to read what the stream has of a build. */
const pastPatienceMs = 20_000;
const retryMs = 500;
const prefetch = 500;
/** The clocks of workers and RabbitMQ may differ by so much. */
const clockSlackMs = 600_000;

interface Entry {
  readonly build: LoggedBuild;
  readonly copy: FedLogCopy;
  /** Chunks that came while the past was being read. */
  later: LogChunk[] | null;
  ready: Promise<void>;
  readers: number;
  forgetting: NodeJS.Timeout | undefined;
}

/** Reads nothing as long as nobody asks for a log. */
export function createLogReader(connection: BrokerConnection, log: Log): LogReader {
  const entries = new Map<string, Entry>();
  /** The consumer of everything that is new. */
  let tail: Promise<ConfirmChannel> | undefined;
  let closing = false;

  const forget = (entry: Entry) => {
    clearTimeout(entry.forgetting);
    if (entries.get(entry.build.buildId) === entry) entries.delete(entry.build.buildId);
    if (entries.size > 0) return;
    void tail?.then(closeQuietly, () => {});
    tail = undefined;
  };

  const usedBytes = () => [...entries.values()].reduce((sum, { copy }) => sum + copy.packedBytes, 0);

  const add = (entry: Entry, chunk: LogChunk) => {
    entry.copy.take(chunk);
    if (entry.copy.packedBytes === 0 || usedBytes() <= maximumBytes) return;
    for (const other of entries.values()) {
      if (other.readers === 0) forget(other);
    }
    if (usedBytes() <= maximumBytes) return;
    entry.copy.cut();
    forget(entry);
  };

  const openTail = async (): Promise<ConfirmChannel> => {
    const channel = await connection.openChannel(channelPatienceMs);
    channel.once('close', () => void recover(channel));
    await consume(channel, 'next', (message) => {
      const read = readLogMessage(message);
      if (read === null || typeof read === 'string') return;
      const entry = entries.get(read.buildId);
      if (entry?.later) entry.later.push(read);
      else if (entry !== undefined) add(entry, read);
    });
    return channel;
  };

  const ensureTail = async () => {
    const opening = tail ?? openTail();
    tail = opening;
    try {
      await opening;
    } catch (error) {
      if (tail === opening) tail = undefined;
      // The stream was deleted while the connection was open.
      if (amqpCode(error) === 404) await connection.setUpAgain(channelPatienceMs);
      throw error;
    }
  };

  /** Reads the past of a build, after the tail has begun: nothing between the two is missed. */
  const catchUp = async (entry: Entry) => {
    entry.later ??= [];
    await ensureTail();
    await readPast(entry, {
      '!': 'timestamp',
      value: Math.floor((Date.parse(entry.build.startedAt) - clockSlackMs) / 1000),
    });
    const later = entry.later;
    entry.later = null;
    for (const chunk of later) add(entry, chunk);
  };

  const readPast = async ({ build, copy }: Entry, offset: unknown) => {
    const marker = randomUUID();
    const done = Promise.withResolvers<void>();
    const until = build.finishedAt === null ? Number.POSITIVE_INFINITY : Date.parse(build.finishedAt) + clockSlackMs;
    const channel = await connection.openChannel(channelPatienceMs);
    try {
      channel.once('close', () => done.reject(unreadable()));
      await consume(channel, offset, (message) => {
        const read = readLogMessage(message);
        const seconds: unknown = message.properties.timestamp;
        if (read === marker || (typeof seconds === 'number' && seconds * 1000 > until)) return done.resolve();
        if (read === null || typeof read === 'string' || read.buildId !== build.buildId) return;
        copy.take(read);
        if (build.finishedAt !== null && read.end) done.resolve();
      });
      await connection.publish(markerMessage(marker), channelPatienceMs);
      await within(done.promise, pastPatienceMs);
    } finally {
      done.promise.catch(() => {});
      await closeQuietly(channel);
    }
  };

  /** After the end of the tail's channel, reads each log anew: nothing says what was missed. */
  const recover = async (ended: ConfirmChannel) => {
    if ((await tail?.catch(() => undefined)) !== ended) return;
    tail = undefined;
    for (const entry of entries.values()) {
      entry.later ??= [];
      void retryCatchUp(entry);
    }
  };

  const retryCatchUp = async (entry: Entry) => {
    while (!closing && entries.get(entry.build.buildId) === entry) {
      await pause(retryMs);
      try {
        await catchUp(entry);
        return;
      } catch (error) {
        log.debug('the log of a build cannot be read', { build_id: entry.build.buildId, error });
      }
    }
  };

  const newEntry = (build: LoggedBuild): Entry => {
    const entry: Entry = {
      ...{ build, copy: createLogCopy(), later: [], readers: 0, forgetting: undefined },
      ready: Promise.resolve(),
    };
    entries.set(build.buildId, entry);
    entry.ready = catchUp(entry);
    return entry;
  };

  return {
    async open(build) {
      if (usedBytes() > maximumBytes / 2 && !entries.has(build.buildId)) {
        throw new ImageBuilderError('worker.busy', 'too many logs are being read at the moment', {
          retryAfterSeconds: 5,
        });
      }
      const entry = entries.get(build.buildId) ?? newEntry(build);
      clearTimeout(entry.forgetting);
      entry.readers += 1;
      let isOpen = true;
      const close = () => {
        if (!isOpen) return;
        isOpen = false;
        entry.readers -= 1;
        if (entry.readers === 0) entry.forgetting = setTimeout(() => forget(entry), keepMs).unref();
      };
      try {
        await entry.ready;
      } catch (error) {
        close();
        forget(entry);
        throw error instanceof ImageBuilderError ? error : unreadable('the log in RabbitMQ could not be read in time');
      }
      // Not a copy of its properties: it grows.
      return Object.assign(Object.create(entry.copy) as LogCopy, { [Symbol.dispose]: close });
    },
    async [Symbol.asyncDispose]() {
      closing = true;
      for (const entry of entries.values()) forget(entry);
    },
  };
}

/** Consumes the logs stream from an offset; the channel closes where RabbitMQ ends that. */
async function consume(
  channel: ConfirmChannel,
  offset: unknown,
  take: (message: ConsumeMessage) => void,
): Promise<void> {
  await channel.prefetch(prefetch);
  await channel.consume(
    queues.logs,
    (message) => {
      // null: RabbitMQ has ended the consumer, because the stream was deleted or its leader moved.
      if (message === null) return void closeQuietly(channel);
      take(message);
      channel.ack(message);
    },
    { arguments: { 'x-stream-offset': offset } },
  );
}
