import type { Options } from 'amqplib';
import type { BrokerAddress } from '../broker-address.ts';

const heartbeatSeconds = 20;

/** The nodes of a cluster, one after the other. */
export interface Rotation {
  current(): BrokerAddress;
  /** Goes on to the next node; after the last one comes the first. */
  next(): void;
  /** The current node, as amqplib takes it: it reads the object anew for each attempt. */
  readonly target: Options.Connect;
}

export function createRotation(addresses: readonly [BrokerAddress, ...BrokerAddress[]]): Rotation {
  let index = 0;
  const current = () => addresses[index % addresses.length] ?? addresses[0];
  return {
    current,
    next() {
      index += 1;
    },
    target: {
      get protocol() {
        return current().tls ? 'amqps' : 'amqp';
      },
      get hostname() {
        return current().host;
      },
      get port() {
        return current().port;
      },
      get username() {
        return current().user;
      },
      get password() {
        return current().password;
      },
      // amqplib decodes it.
      get vhost() {
        return encodeURIComponent(current().vhost);
      },
      get heartbeat() {
        return current().heartbeatSeconds ?? heartbeatSeconds;
      },
      get frameMax() {
        return current().frameMax ?? undefined;
      },
      get channelMax() {
        return current().channelMax ?? undefined;
      },
    } as Options.Connect,
  };
}
