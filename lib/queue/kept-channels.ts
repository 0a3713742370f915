import type { ConfirmChannel } from 'amqplib';
import { type BrokerConnection, closeQuietly } from './connection.ts';

/**
 * Channels that stay open from one message to the next, one for each name that messages go to: to open and close one for
 * each message costs three round trips more, and as much work in RabbitMQ. One user at a time for each name.
 */
export interface KeptChannels extends AsyncDisposable {
  /** The channel of a name; a new one where none is open. Throws `broker.unreachable`. */
  take(name: string, patienceMs: number): Promise<ConfirmChannel>;
  /** Closes the channel of a name, which is in a state that nobody knows. */
  drop(name: string): void;
}

export function keepChannels(connection: Pick<BrokerConnection, 'openChannel'>, maximumChannels: number): KeptChannels {
  /** In the order of their last use. */
  const channels = new Map<string, ConfirmChannel>();

  const drop = (name: string) => {
    const channel = channels.get(name);
    channels.delete(name);
    // Not awaited: a RabbitMQ that takes no messages does not answer this either.
    if (channel !== undefined) void closeQuietly(channel);
  };

  return {
    async take(name, patienceMs) {
      const known = channels.get(name);
      const channel = known ?? (await connection.openChannel(patienceMs));
      if (known === undefined) {
        channel.once('close', () => {
          if (channels.get(name) === channel) channels.delete(name);
        });
      }
      channels.delete(name);
      channels.set(name, channel);
      const [oldest] = channels.keys();
      if (channels.size > maximumChannels && oldest !== undefined) drop(oldest);
      return channel;
    },
    drop,
    async [Symbol.asyncDispose]() {
      for (const name of channels.keys()) drop(name);
    },
  };
}
