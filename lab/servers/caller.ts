import { connect } from 'amqplib';
import { BuildEvent } from '#lib/api/event.ts';

/** A caller's part on RabbitMQ: declares the exchange that its request names as progress_trigger, and listens. */
export interface Caller extends AsyncDisposable {
  /** Events so far, in the order in which they came. */
  readonly events: readonly BuildEvent[];
  /** The same as they were sent, with fields that no schema names. */
  readonly sent: readonly unknown[];
}

/** Declares a fanout exchange and collects every event that is published to it. */
export async function startCaller(amqpUrl: string, exchange: string): Promise<Caller> {
  const connection = await connect(amqpUrl);
  // It ends with RabbitMQ, which a test may stop.
  connection.on('error', () => {});
  const events: BuildEvent[] = [];
  const sent: unknown[] = [];
  try {
    const channel = await connection.createChannel();
    await channel.assertExchange(exchange, 'fanout', { durable: false, autoDelete: true });
    const { queue } = await channel.assertQueue('', { exclusive: true });
    await channel.bindQueue(queue, exchange, '');
    await channel.consume(
      queue,
      (message) => {
        if (message === null) return;
        const content = JSON.parse(message.content.toString('utf8'));
        events.push(BuildEvent.parse(content));
        sent.push(content);
      },
      { noAck: true },
    );
  } catch (error) {
    await connection.close();
    throw error;
  }
  return {
    events,
    sent,
    async [Symbol.asyncDispose]() {
      await connection.close().catch(() => {});
    },
  };
}
