import type { EventEmitter } from 'node:events';
import { type Channel, type ChannelModel, type ConfirmChannel, connect, credentials, type Options } from 'amqplib';
import { sleep, within } from '../async.ts';
import type { BrokerCertificates } from '../broker-address.ts';
import { parseBrokerUrls } from '../broker-address.ts';
import { ImageBuilderError, toImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import { describeConnectionFailure } from './connection-failure.ts';
import { describeMissingRight } from './missing-right.ts';
import { createRotation } from './rotation.ts';

/**
 * One connection to RabbitMQ that recovers by itself, by amqplib's own recovery. Nothing here waits without limit:
 * while the broker is away, every operation ends after its patience with `broker.unreachable`.
 */
export interface BrokerConnection extends AsyncDisposable {
  /** False while the first attempt to connect is under way. */
  readonly hasTried: boolean;
  /** Whether the broker can be used now; where not, the reason in words without credentials. */
  reachable(): { readonly reachable: boolean; readonly message?: string };
  /** Time since which it could be used without a break, milliseconds since the epoch; null while it cannot. */
  readonly usableSince: number | null;
  /**
   * Sends a message to a queue and resolves when the broker has it safe. After an outage the same message is sent
   * again, with the same message id, so it may arrive twice. Throws `broker.unreachable` when `patienceMs` is over.
   */
  publish(message: QueueMessage, patienceMs: number): Promise<void>;
  /** A new channel, for the caller to close. Waits up to `patienceMs` for the connection, then throws `broker.unreachable`. */
  openChannel(patienceMs: number): Promise<ConfirmChannel>;
  /** Runs `setup` again, for a queue that is gone. Throws `broker.unreachable`. */
  setUpAgain(patienceMs: number): Promise<void>;
}

/** A persistent message to a queue that must exist. */
export interface QueueMessage {
  readonly queue: string;
  readonly content: Buffer;
  readonly messageId: string;
  readonly type: string;
  /** Media type of the content. Default: JSON. */
  readonly contentType?: string;
  /** Milliseconds after which the message leaves the queue. */
  readonly expirationMs?: number;
  readonly headers?: Readonly<Record<string, string | number>>;
}

export interface ConnectionOptions {
  /** One URL, or several of the nodes of a cluster, which are tried in turn. */
  readonly amqpUrl: string;
  /** For amqps. Default: the certificate authorities of Node, and no certificate of our own. */
  readonly certificates?: BrokerCertificates;
  /** Shown in RabbitMQ's list of connections. */
  readonly name: string;
  /**
   * Runs on every new connection before it is used. An error that it throws is why the broker counts as unreachable.
   */
  readonly setup: (model: ChannelModel) => Promise<void>;
  readonly log: Log;
}

const handshakeTimeoutMs = 5_000;
const retryDelayMs = 200;
const maximumReconnectDelayMs = 5_000;
const retryAfterSeconds = 5;

/** Starts connecting and returns at once, whether the broker is there or not. */
export async function openConnection(options: ConnectionOptions): Promise<BrokerConnection> {
  const { log } = options;
  const nodes = createRotation(parseBrokerUrls(options.amqpUrl));
  /** Why each node could not be connected to, since the last connection. */
  const reasons = new Map<string, string>();
  let connected: ChannelModel | null = null;
  let blocked: string | null = null;
  let failure: unknown = null;
  let hasTried = false;
  let usableSince: number | null = null;
  let publisher: Promise<ConfirmChannel> | undefined;
  /** Why RabbitMQ has closed the channel for messages, where it was for a right that its user lacks. */
  let lacking: string | null = null;
  const returned = new Set<string>();

  const { ca, certificate, key } = options.certificates ?? {};
  const socketOptions = {
    ...(ca && { ca: [...ca] }),
    ...(certificate && { cert: certificate }),
    ...(key && { key }),
    ...(nodes.current().mechanism === 'external' && { credentials: credentials.external() }),
  };
  const recovering = await connect(nodes.target, {
    ...socketOptions,
    timeout: handshakeTimeoutMs,
    noDelay: true,
    keepAlive: true,
    clientProperties: { connection_name: options.name },
    recovery: {
      waitForConnect: false,
      maxDelay: maximumReconnectDelayMs,
      async setup(model: ChannelModel) {
        // Until amqplib listens itself, an error event without a listener would end the process.
        guard(model, log);
        await options.setup(model);
      },
    },
  });
  recovering.on('connect', (model) => {
    connected = model;
    hasTried = true;
    blocked = null;
    failure = null;
    reasons.clear();
    usableSince = Date.now();
    log.info('connected to RabbitMQ', { broker: nodes.current().where });
  });
  recovering.on('disconnect', (error) => {
    connected = null;
    failure = error;
    usableSince = null;
    log.warn('the connection to RabbitMQ is gone', { broker: nodes.current().where, reason: error.message });
  });
  recovering.on('connect-failed', (error) => {
    const node = nodes.current();
    const known = error instanceof ImageBuilderError ? null : describeConnectionFailure(error, node);
    const reason = known ?? reasonOf(error);
    // One line per outage and reason, not one per attempt.
    if (reasons.get(node.where) !== reason) log.warn('RabbitMQ cannot be used', { broker: node.where, reason });
    reasons.set(node.where, reason);
    failure = error;
    hasTried = true;
    nodes.next();
  });
  recovering.on('blocked', (reason) => {
    blocked = reason;
    usableSince = null;
    log.warn('RabbitMQ takes no messages', { broker: nodes.current().where, reason });
  });
  recovering.on('unblocked', () => {
    blocked = null;
    usableSince = Date.now();
    log.info('RabbitMQ takes messages again', { broker: nodes.current().where });
  });
  guard(recovering, log);

  const unreachable = (cause: unknown) => {
    if (failure instanceof ImageBuilderError) return failure;
    const other = [[nodes.current().where, blocked ?? reasonOf(failure ?? cause)] as const];
    const each = blocked === null && reasons.size > 0 ? [...reasons] : other;
    const detail = each.map(([where, reason]) => `RabbitMQ at ${where} is out of reach: ${reason}`).join('; ');
    return new ImageBuilderError('broker.unreachable', detail, {
      cause: cause ?? failure,
      retryAfterSeconds,
    });
  };

  const notPublished = ({ queue }: QueueMessage, cause: unknown) => {
    if (isNack(cause)) return refusal(queue, cause);
    return lacking === null ? unreachable(cause) : refused(lacking, cause);
  };

  const newChannel = async () => {
    const channel = await recovering.createConfirmChannel();
    guard(channel, log);
    return channel;
  };

  const publishChannel = () => {
    publisher ??= newChannel().then(
      (channel) => {
        channel.once('close', () => {
          publisher = undefined;
          returned.clear();
        });
        channel.on('error', (error) => {
          lacking = describeMissingRight(error, 'write');
        });
        channel.on('return', ({ properties }) => returned.add(String(properties.messageId)));
        return channel;
      },
      (error: unknown) => {
        publisher = undefined;
        throw error;
      },
    );
    return publisher;
  };

  return {
    get hasTried() {
      return hasTried;
    },

    reachable() {
      if (connected !== null && blocked === null) return { reachable: true };
      return { reachable: false, message: unreachable(failure ?? new Error('connecting')).message };
    },

    get usableSince() {
      return usableSince;
    },

    async publish(message, patienceMs) {
      const deadline = Date.now() + patienceMs;
      for (;;) {
        try {
          const channel = await within(publishChannel(), deadline - Date.now());
          await within(sendConfirmed(channel, message), deadline - Date.now());
          lacking = null;
          if (!returned.delete(message.messageId)) return;
          // The queue was deleted while the connection was open.
          if (connected !== null) await within(options.setup(connected), deadline - Date.now());
        } catch (error) {
          if (error instanceof RangeError || error instanceof TypeError) throw toImageBuilderError(error);
          if (Date.now() + retryDelayMs >= deadline) {
            throw notPublished(message, error);
          }
          log.debug('publishing again', { queue: message.queue, reason: reasonOf(error) });
        }
        await sleep(retryDelayMs);
      }
    },

    async openChannel(patienceMs) {
      const opening = newChannel();
      try {
        return await within(opening, patienceMs);
      } catch (error) {
        // It may still open later, and then nothing else would close it.
        opening.then(closeQuietly, () => {});
        throw unreachable(error);
      }
    },

    async setUpAgain(patienceMs) {
      try {
        if (connected !== null) await within(options.setup(connected), patienceMs);
      } catch (error) {
        throw error instanceof ImageBuilderError ? error : unreachable(error);
      }
    },

    async [Symbol.asyncDispose]() {
      connected = null;
      usableSince = null;
      await recovering.close();
    },
  };
}

/** True when RabbitMQ has refused the message itself: amqplib has no code for that. */
function isNack(error: unknown): boolean {
  return error instanceof Error && error.message === 'message nacked';
}

function refusal(queue: string, cause: unknown): ImageBuilderError {
  const detail = `RabbitMQ takes no message for the queue ${queue}: it is full, by the max-length or max-length-bytes of a policy, or has no majority of its nodes`;
  return refused(detail, cause);
}

function refused(detail: string, cause: unknown): ImageBuilderError {
  return new ImageBuilderError('broker.unreachable', detail, { cause, retryAfterSeconds });
}

/** Closes a channel that may be closed already. */
export async function closeQuietly(channel: Channel): Promise<void> {
  try {
    await channel.close();
  } catch {
    // The broker or the connection closed it before.
  }
}

/** Publishes and waits for the confirm. Throws when the channel closes before it or the broker refuses the message. */
export function sendConfirmed(
  channel: ConfirmChannel,
  message: QueueMessage,
  exchange = '',
  properties: Options.Publish = {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    channel.publish(
      exchange,
      message.queue,
      message.content,
      {
        persistent: true,
        mandatory: exchange === '',
        contentType: message.contentType ?? 'application/json',
        appId: 'imagebuilder',
        messageId: message.messageId,
        type: message.type,
        timestamp: Math.floor(Date.now() / 1000),
        ...(message.expirationMs === undefined ? {} : { expiration: String(message.expirationMs) }),
        ...(message.headers === undefined ? {} : { headers: message.headers }),
        ...properties,
      },
      (error: unknown) => (error === null || error === undefined ? resolve() : reject(error)),
    );
  });
}

/** Keeps events without a listener, and listeners that throw, from ending the process or the connection. */
function guard(emitter: EventEmitter, log: Log): void {
  emitter.on('error', (error: Error) =>
    log.debug('RabbitMQ closed a channel or connection', { reason: error.message }),
  );
  emitter.on('handler-error', (error: Error) => log.error('a listener for RabbitMQ threw', { error }));
}

function reasonOf(error: unknown): string {
  // AggregateError: a host name with several addresses, none of which answered.
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join(', ');
  return error instanceof Error && error.message !== '' ? error.message : String(error);
}
