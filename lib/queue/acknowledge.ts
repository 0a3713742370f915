import type { Channel, ConsumeMessage } from 'amqplib';

/** Acknowledges messages of a channel several at a time: each acknowledgement is a write to RabbitMQ of its own. */
export interface Acknowledgements extends Disposable {
  /** Acknowledges a message, and all before it, a moment later. */
  add(message: ConsumeMessage): void;
}

/** Far below a consumer_timeout, which may be as short as a second. */
const afterMs = 100;

/** `atOnce`: so many messages are not held back; fewer than RabbitMQ sends ahead. */
export function acknowledgeTogether(channel: Pick<Channel, 'ack'>, atOnce: number): Acknowledgements {
  let newest: ConsumeMessage | null = null;
  let waiting = 0;
  let timer: NodeJS.Timeout | undefined;

  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    waiting = 0;
    const message = newest;
    newest = null;
    try {
      if (message !== null) channel.ack(message, true);
    } catch {
      // The channel has closed: RabbitMQ forgets what it has sent on it.
    }
  };

  return {
    add(message) {
      newest = message;
      waiting += 1;
      if (waiting >= atOnce) flush();
      else timer ??= setTimeout(flush, afterMs).unref();
    },
    [Symbol.dispose]: () => clearTimeout(timer),
  };
}
