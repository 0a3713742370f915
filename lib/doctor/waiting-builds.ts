import type { ConsumeMessage } from 'amqplib';
import { within } from '../async.ts';
import { type BrokerConnection, closeQuietly } from '../queue/connection.ts';
import { createLedger, type Ledger } from '../queue/ledger.ts';
import { decodeRecord } from '../queue/record.ts';
import { queues } from '../queue/topology.ts';

/**
 * How many builds wait for a worker, by the events stream, which is read once and not changed. The queue of jobs does
 * not say that: jobs of builds that are over come back to it from their leases.
 */

/** Time for the stream, which is read at some 150 µs an event; the doctor's look at RabbitMQ has 15 seconds. */
const readingMs = 8_000;
/** Time for its last messages; an empty stream sends nothing. */
const silenceMs = 500;

/** Resolves with null where the stream could not be read in time. Throws where this user may not read it. */
export async function countWaiting(connection: BrokerConnection, forgetAfterSeconds: number): Promise<number | null> {
  const ledger = createLedger({ forgetAfterSeconds, historyBytes: 0 });
  let end = -1;
  // RabbitMQ sends the last messages that were written together, and then those that come.
  await readFrom(connection, 'last', silenceMs, (message) => {
    end = Math.max(end, offsetOf(message));
    return false;
  });
  if (end < 0) return 0;
  const read = await readFrom(connection, 'first', readingMs, (message) => {
    applyTo(ledger, message);
    return offsetOf(message) >= end;
  });
  return read ? ledger.waiting(new Date()).size : null;
}

/** Reads until `isLast`; resolves with false when that does not come in time. */
async function readFrom(
  connection: BrokerConnection,
  offset: 'first' | 'last',
  patienceMs: number,
  isLast: (message: ConsumeMessage) => boolean,
): Promise<boolean> {
  const channel = await connection.openChannel(patienceMs);
  const found = Promise.withResolvers<boolean>();
  channel.once('close', () => found.resolve(false));
  try {
    await channel.prefetch(500);
    const receive = (message: ConsumeMessage | null) => {
      if (message === null) return found.resolve(false);
      channel.ack(message);
      if (isLast(message)) found.resolve(true);
    };
    await channel.consume(queues.events, receive, { arguments: { 'x-stream-offset': offset } });
    return await within(found.promise, patienceMs).catch(() => false);
  } finally {
    await closeQuietly(channel);
  }
}

function applyTo(ledger: Ledger, { content }: ConsumeMessage): void {
  const record = decodeRecord(content);
  if (typeof record !== 'string') ledger.apply(record);
}

function offsetOf({ properties }: ConsumeMessage): number {
  return Number(properties.headers?.['x-stream-offset']);
}
