import type { ChannelModel, Options } from 'amqplib';
import { ImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import { describeMissingRight } from './missing-right.ts';
import { amqpCode, brokerText, queues } from './topology.ts';

/** Declares the queues of Image Builder. */

export interface Retention {
  readonly seconds: number;
  readonly bytes: number;
}

const MiB = 1024 * 1024;

/**
 * Number of times that RabbitMQ may deliver a job without an acknowledgement. A worker holds a job for milliseconds
 * only, so each such delivery was a broken connection; RabbitMQ 4 by itself would give the job up after 20.
 */
const deliveryLimit = 1000;

/**
 * The same for a job that was given up, whose queue is the end of the way. Without an argument, RabbitMQ 4 drops a
 * message that an operator has looked at and put back 20 times. RabbitMQ 3 refuses the -1 that means "no limit" in 4.
 */
const buriedDeliveryLimit = 1_000_000_000;

/**
 * Both dead-letter paths keep a message until its new queue has confirmed it; that needs reject-publish (RabbitMQ
 * 3.10).
 */
const deadLettersTo = (queue: string) => ({
  'x-dead-letter-exchange': '',
  'x-dead-letter-routing-key': queue,
  'x-dead-letter-strategy': 'at-least-once',
  'x-overflow': 'reject-publish',
});

/** The arguments of a stream that an operator may change: they do not change the meaning of the stream. */
const retentionArguments = ['x-max-age', 'x-max-length-bytes', 'x-stream-max-segment-size-bytes'] as const;

/**
 * Declares every queue. A stream that exists with another retention is used unchanged, with a
 * warning: RabbitMQ changes it by policy only. Throws `config.invalid` when a name is taken by a queue of another kind.
 */
export async function declareTopology(model: ChannelModel, retention: Retention, log: Log): Promise<void> {
  await declare(model, queues.buried, { 'x-queue-type': 'quorum', 'x-delivery-limit': buriedDeliveryLimit });
  await declare(model, queues.dead, { 'x-queue-type': 'quorum' });
  await declare(model, queues.builds, {
    'x-queue-type': 'quorum',
    'x-delivery-limit': deliveryLimit,
    ...deadLettersTo(queues.dead),
  });
  await declare(model, queues.leases, { 'x-queue-type': 'quorum', ...deadLettersTo(queues.builds) });
  await declareStream(model, queues.events, retention, log);
  await declareStream(model, queues.logs, retentionOfLogs(retention), log);
}

/** Events outlive the logs of their builds, which are in the store by then. */
function retentionOfLogs({ seconds, bytes }: Retention): Retention {
  return { seconds: Math.min(seconds, 86_400), bytes: 4 * bytes };
}

async function declareStream(model: ChannelModel, queue: string, retention: Retention, log: Log): Promise<void> {
  try {
    await declare(model, queue, {
      'x-queue-type': 'stream',
      'x-max-age': `${retention.seconds}s`,
      'x-max-length-bytes': retention.bytes,
      // RabbitMQ drops whole segments only: the smaller they are, the more exact is the retention.
      'x-stream-max-segment-size-bytes': Math.round(Math.min(Math.max(retention.bytes / 16, MiB), 100 * MiB)),
    });
  } catch (error) {
    if (!(error instanceof ImageBuilderError) || !differsInRetentionOnly(error.message)) throw error;
    log.warn('a stream exists with another retention than is configured; a RabbitMQ policy can change it', {
      queue,
      reason: error.message,
    });
  }
}

async function declare(model: ChannelModel, queue: string, arguments_: Record<string, string | number>): Promise<void> {
  // A refused declaration closes its channel.
  const channel = await model.createChannel();
  channel.on('error', () => {});
  try {
    await channel.assertQueue(queue, { durable: true, arguments: arguments_ } satisfies Options.AssertQueue);
    await channel.close();
  } catch (error) {
    if (amqpCode(error) === 406) {
      throw new ImageBuilderError(
        'config.invalid',
        `the queue ${queue} exists in RabbitMQ and is not what Image Builder declares: ${brokerText(error)}. Delete it, or give Image Builder a virtual host of its own.`,
        { cause: error },
      );
    }
    if (amqpCode(error) === 403) {
      // A user without the right to declare may use queues that are there.
      if (await isThere(model, queue)) return;
      throw new ImageBuilderError(
        'config.invalid',
        `the queue ${queue} is not there, and ${describeMissingRight(error, 'configure') ?? brokerText(error)}`,
        { cause: error },
      );
    }
    throw error;
  }
}

/** Any user may look whether a queue is there. */
async function isThere(model: ChannelModel, queue: string): Promise<boolean> {
  const channel = await model.createChannel();
  channel.on('error', () => {});
  try {
    await channel.checkQueue(queue);
    await channel.close();
    return true;
  } catch (error) {
    if (amqpCode(error) === 404) return false;
    throw error;
  }
}

function differsInRetentionOnly(message: string): boolean {
  const [, name] = /inequivalent arg '([^']+)'/.exec(message) ?? [];
  return (
    message.includes('but current is ') &&
    !message.includes('but current is none') &&
    retentionArguments.some((argument) => argument === name) &&
    !message.includes('received none')
  );
}
