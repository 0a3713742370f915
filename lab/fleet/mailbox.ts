import { connect } from 'amqplib';
import { BuildEvent } from '#lib/api/event.ts';

/**
 * A caller that loses nothing: its exchange and queue survive a restart of RabbitMQ. It reads only when a test looks,
 * so that a message sent twice is there twice.
 */
export interface Mailbox {
  /** Every event so far, in the order in which they came. */
  read(): Promise<readonly BuildEvent[]>;
}

export async function openMailbox(amqpUrl: string, exchange: string): Promise<Mailbox> {
  const queue = `${exchange}.mailbox`;
  const events: BuildEvent[] = [];
  const connection = await connect(amqpUrl);
  const channel = await connection.createChannel();
  await channel.assertExchange(exchange, 'fanout', { durable: true });
  await channel.assertQueue(queue, { durable: true });
  await channel.bindQueue(queue, exchange, '');
  await connection.close();
  return {
    async read() {
      const reader = await connect(amqpUrl);
      const from = await reader.createChannel();
      for (;;) {
        const message = await from.get(queue, { noAck: true });
        if (message === false) break;
        events.push(BuildEvent.parse(JSON.parse(message.content.toString('utf8'))));
      }
      await reader.close();
      return events;
    },
  };
}
