import type { ConfirmChannel, ConsumeMessage } from 'amqplib';
import { onAbort, pause, within } from '../async.ts';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { acknowledgeTogether } from './acknowledge.ts';
import { type BrokerConnection, closeQuietly } from './connection.ts';
import { describeMissingRight } from './missing-right.ts';
import { decodeRecord, type StreamRecord } from './record.ts';
import { amqpCode, queues } from './topology.ts';

/** Reads the events stream from its beginning and follows it, over as many connections as that takes. */
export interface StreamReader extends AsyncDisposable {
  /**
   * Since when everything has been read that was in the stream when the newest connection was made, milliseconds since
   * the epoch; null while that is not so.
   */
  readonly caughtUpSince: number | null;
  /** The right that the user of RabbitMQ lacks for reading it, and how to give it; null where it has it. */
  readonly lacking: string | null;
}

export interface StreamReaderOptions {
  /** Takes the next record. Each comes once, in order. `bytes`: size of its message. */
  readonly take: (record: StreamRecord, bytes: number) => void;
  /** Appends a marker and resolves when `take` has got it. Throws when that takes longer. */
  readonly mark: (patienceMs: number) => Promise<unknown>;
  readonly onCaughtUp: () => void;
  /** The stream is another one than before. It is read from its beginning, and nothing that was taken counts. */
  readonly onOtherStream: () => void;
  readonly log: Log;
}

/** Records that RabbitMQ sends ahead of their acknowledgements. */
const prefetch = 500;
const reconnectDelayMs = 500;
const channelPatienceMs = 30_000;
/**
 * Where no record arrives for this long after a marker was appended, we are not reading the stream that has the marker.
 */
const silenceMs = 10_000;

/** Starts reading, and returns at once. */
export function readStream(connection: BrokerConnection, options: StreamReaderOptions): StreamReader {
  const { take, mark, log } = options;
  const stopping = new AbortController();
  let caughtUpSince: number | null = null;
  let lacking: string | null = null;
  /** The first offset that has not been read. */
  let next: number | null = null;
  let received = 0;

  const receive = (message: ConsumeMessage) => {
    received += 1;
    const offset: unknown = message.properties.headers?.['x-stream-offset'];
    if (typeof offset !== 'number' || (next !== null && offset < next)) return;
    next = offset + 1;
    const record = decodeRecord(message.content);
    if (typeof record === 'string') log.warn('a record that is not understood is skipped', { offset, reason: record });
    else take(record, message.content.length);
  };

  /** Reads until the channel closes. */
  const readOnce = async (channel: ConfirmChannel) => {
    const ended = Promise.withResolvers<void>();
    channel.once('close', ended.resolve);
    using _listener = onAbort(stopping.signal, ended.resolve);
    await channel.prefetch(prefetch);
    using acknowledgements = acknowledgeTogether(channel, prefetch / 2);
    await channel.consume(
      queues.events,
      (message) => {
        try {
          // null: RabbitMQ has ended the consumer, because the stream was deleted or its leader moved.
          if (message === null) return void closeQuietly(channel);
          receive(message);
          acknowledgements.add(message);
        } catch (error) {
          log.error('an event could not be taken in', { error });
        }
      },
      { arguments: { 'x-stream-offset': next ?? 'first' } },
    );
    lacking = null;
    void catchUp(channel);
    await ended.promise;
  };

  /**
   * Marks the end of the past, and notices when the marker never comes: an offset beyond the end of a new stream stays
   * silent.
   */
  const catchUp = async (channel: ConfirmChannel) => {
    let open = true;
    channel.once('close', () => {
      open = false;
    });
    while (open && caughtUpSince === null) {
      const before = received;
      try {
        await mark(silenceMs);
        if (open) caughtUpSince = Date.now();
      } catch {
        if (!open || stopping.signal.aborted || received !== before || !connection.reachable().reachable) continue;
        log.warn('the events stream is not the one that was read before; it is read anew', { offset: next });
        next = null;
        options.onOtherStream();
        await closeQuietly(channel);
      }
    }
    if (caughtUpSince !== null) options.onCaughtUp();
  };

  const run = async () => {
    while (!stopping.signal.aborted) {
      let channel: ConfirmChannel | undefined;
      try {
        channel = await connection.openChannel(channelPatienceMs);
        await readOnce(channel);
      } catch (error) {
        const before = lacking;
        lacking = describeMissingRight(error, 'read');
        const news = lacking !== null && lacking !== before;
        log[news ? 'error' : 'debug']('the events stream cannot be read', { reason: lacking ?? messageOf(error) });
        // The stream was deleted while the connection was open.
        if (amqpCode(error) === 404) await connection.setUpAgain(channelPatienceMs).catch(() => {});
      }
      caughtUpSince = null;
      if (channel !== undefined) await closeQuietly(channel);
      await pause(reconnectDelayMs, stopping.signal);
    }
  };
  const running = run();

  return {
    get caughtUpSince() {
      return caughtUpSince;
    },
    get lacking() {
      return lacking;
    },
    async [Symbol.asyncDispose]() {
      stopping.abort();
      // The connection may be away, and a wait for a channel may last as long: do not wait for that.
      await within(running, 1_000).catch(() => {});
    },
  };
}
