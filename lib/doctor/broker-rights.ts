import type { ConfirmChannel } from 'amqplib';
import { type BrokerConnection, closeQuietly } from '../queue/connection.ts';
import { amqpCode, queues, type rights } from '../queue/topology.ts';

/** The rights of the user of RabbitMQ, tried out. */

type Right = keyof typeof rights;

/** Rights that the user lacks for declaring, or else for using the queues; empty where it has all. `there`: the queues that are. */
export async function missingRights(
  connection: BrokerConnection,
  there: ReadonlySet<string>,
  patienceMs: number,
): Promise<Right[]> {
  const lacks = async (attempt: (channel: ConfirmChannel) => Promise<unknown>): Promise<boolean> => {
    const channel = await connection.openChannel(patienceMs);
    try {
      await attempt(channel);
      return false;
    } catch (error) {
      if (amqpCode(error) === 403) return true;
      throw error;
    } finally {
      await closeQuietly(channel);
    }
  };
  const complete = Object.values(queues).every((queue) => there.has(queue));
  const missing: Right[] = [];
  // Queues that are all there need not be declared. Deleting a queue that is not there changes nothing.
  if (!complete && (await lacks((channel) => channel.deleteQueue(`${queues.builds}.of-the-doctor`)))) {
    missing.push('configure');
  }
  if (await lacks(sendNowhere)) missing.push('write');
  const read = [queues.builds, queues.dead].filter((queue) => there.has(queue));
  for (const queue of read) {
    // The job goes back when the channel is closed. Where none waits, nothing happens.
    if (missing.includes('read') || !(await lacks((channel) => channel.get(queue)))) continue;
    missing.push('read');
  }
  return missing;
}

/** A message to a queue that is not there is dropped. */
async function sendNowhere(channel: ConfirmChannel): Promise<void> {
  const failed = new Promise<never>((_resolve, reject) => channel.once('error', reject));
  channel.publish('', `${queues.builds}.of-the-doctor`, Buffer.alloc(0));
  await Promise.race([channel.waitForConfirms(), failed]);
}
