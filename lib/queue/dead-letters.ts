import { within } from '../async.ts';
import type { Log } from '../log.ts';
import { type BrokerConnection, closeQuietly } from './connection.ts';
import { decodeJob } from './job.ts';
import { queues } from './topology.ts';

/**
 * Jobs that RabbitMQ has dropped from the queue of jobs. A policy of the operator may do that to any message: by its
 * age (`message-ttl`), or because the queue is full (`max-length`). None of that is a reason to give up a build.
 */

export interface DeadLettersOptions {
  readonly patienceMs: number;
  readonly log: Log;
}

/** RabbitMQ's names for its reasons, and their causes. */
const causes: Readonly<Record<string, string>> = {
  expired: 'they were older than the message-ttl of a policy for imagebuilder.builds',
  maxlen: 'imagebuilder.builds had more messages than the max-length of a policy',
  delivery_limit: 'workers lost their connections too often before they acknowledged them, see delivery-limit',
};

/**
 * Puts dropped jobs back into `builds`, and anything else into `buried`: no job, or one that an earlier version gave up,
 * which kept them in `dead`. Resolves with the number of jobs put back. A connection that breaks meanwhile may leave a
 * message in both queues. Throws `broker.unreachable`, and what RabbitMQ answers.
 */
export async function reviveDeadLetters(
  connection: BrokerConnection,
  { patienceMs, log }: DeadLettersOptions,
): Promise<number> {
  const channel = await connection.openChannel(patienceMs);
  const reasons = new Map<string, number>();
  try {
    const { messageCount } = await within(channel.checkQueue(queues.dead), patienceMs);
    // Counted before: under a message-ttl of 0, a job is back here as soon as it is in the other queue.
    for (let left = messageCount; left > 0; left -= 1) {
      const message = await within(channel.get(queues.dead), patienceMs);
      if (message === false) break;
      const { content, properties } = message;
      const reason: unknown = properties.headers?.['x-first-death-reason'];
      const revived = typeof reason === 'string' && typeof decodeJob(content) !== 'string';
      const { 'x-death': _death, ...headers } = properties.headers ?? {};
      await connection.publish(
        {
          queue: revived ? queues.builds : queues.buried,
          content,
          messageId: String(properties.messageId ?? ''),
          type: String(properties.type ?? ''),
          ...(revived ? {} : { headers }),
        },
        patienceMs,
      );
      channel.ack(message);
      if (revived) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
  } finally {
    void closeQuietly(channel);
  }
  for (const [reason, jobs] of reasons) {
    log.warn('RabbitMQ has dropped jobs, which are put back', { jobs, reason, cause: causes[reason] });
  }
  return [...reasons.values()].reduce((sum, jobs) => sum + jobs, 0);
}
