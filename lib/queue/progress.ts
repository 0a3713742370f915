import { type BuildEvent, isTerminal } from '../api/event.ts';
import { ExchangeName } from '../api/request.ts';
import { sleep, within } from '../async.ts';
import type { Log } from '../log.ts';
import type { TraceContext } from '../trace-context.ts';
import { type BrokerConnection, closeQuietly, sendConfirmed } from './connection.ts';
import { routingOf } from './event-routing.ts';
import { keepChannels } from './kept-channels.ts';
import { toShortString } from './short-string.ts';
import { amqpCode } from './topology.ts';

/** Events to the exchange that a request names as its `progress_trigger`. */
export interface Progress extends AsyncDisposable {
  /**
   * Sends an event to the caller's exchange, or to the caller's queue of that name. Events go in the order of the
   * calls. Never throws and never takes long: where neither exists, the broker is away, or progress has been overtaken,
   * it does not send the event and resolves with false. `trace`: the operation that the event comes from.
   */
  send(event: BuildEvent, trace: TraceContext | null): Promise<boolean>;
}

export interface ProgressOptions {
  /**
   * True when a newer event of the same build is known: another process sends that one, and may have done so already.
   */
  readonly isOvertaken: (event: BuildEvent) => boolean;
  readonly log: Log;
}

/** An event on its way, and the operation that it comes from. */
interface Sending {
  readonly event: BuildEvent;
  readonly trace: TraceContext | null;
}

type Target = 'exchange' | 'queue' | 'nowhere';

/** Time for which a name without exchange and queue is not looked up again. */
const lookAgainMs = 3_000;
/** Time for which the kind of a name is remembered. */
const rememberMs = 60_000;
const patienceMs = 3_000;
/** The last event of a build gets a longer limit. */
const terminalPatienceMs = 20_000;
const maximumNames = 1_000;
/** Of the channels that a connection may have. */
const maximumChannels = 16;

/**
 * Opens the way to callers' exchanges. Every name has a channel of its own, because a name that is gone closes the channel
 * it is used on, and a line of its own, so that an exchange that refuses everything holds up no other.
 */
export function openProgress(connection: BrokerConnection, { isOvertaken, log }: ProgressOptions): Progress {
  const remembered = new Map<string, { readonly target: Target; readonly until: number }>();
  /** By name, the newest event under way: the next one waits for it. */
  const lines = new Map<string, Promise<boolean>>();
  const channels = keepChannels(connection, maximumChannels);

  const exists = async (kind: 'exchange' | 'queue', name: string, patience: number): Promise<boolean> => {
    // The exchange is never declared by us: the caller chooses its type. A name that does not exist closes the channel.
    const channel = await connection.openChannel(patience);
    try {
      await within<unknown>(kind === 'exchange' ? channel.checkExchange(name) : channel.checkQueue(name), patience);
      return true;
    } catch (error) {
      if (amqpCode(error) === 404) return false;
      // 403: no permission. 405: an exclusive queue of another connection. Neither can be sent to.
      if (amqpCode(error) === 403 || amqpCode(error) === 405) {
        log.warn('the progress trigger may not be used', { progress_trigger: name, error });
        return false;
      }
      throw error;
    } finally {
      await closeQuietly(channel);
    }
  };

  const look = async (name: string, patience: number): Promise<Target> => {
    const known = remembered.get(name);
    if (known !== undefined && known.until > Date.now()) return known.target;
    const target: Target = (await exists('exchange', name, patience))
      ? 'exchange'
      : (await exists('queue', name, patience))
        ? 'queue'
        : 'nowhere';
    if (target === 'nowhere' && known?.target !== 'nowhere') {
      log.info('neither an exchange nor a queue has the name of the progress trigger; looking again later', {
        progress_trigger: name,
      });
    }
    if (remembered.size >= maximumNames) remembered.clear();
    remembered.set(name, { target, until: Date.now() + (target === 'nowhere' ? lookAgainMs : rememberMs) });
    return target;
  };

  /**
   * Sends once. `gone` when the exchange or queue has disappeared, `refused` when we may not write to it, `overtaken`
   * when the event would come after a newer one.
   */
  const sendTo = async (
    target: 'exchange' | 'queue',
    { event, trace }: Sending,
    patience: number,
  ): Promise<'sent' | 'gone' | 'refused' | 'overtaken'> => {
    const name = event.progress_trigger;
    const opened = await channels.take(name, patience);
    // Checked here, after the last wait: a worker may have been stopped for minutes before.
    if (!isTerminal(event.state) && isOvertaken(event)) return 'overtaken';
    let gone = false;
    let refused = false;
    const onReturn = () => {
      gone = true;
    };
    const onError = (error: Error) => {
      gone ||= amqpCode(error) === 404;
      refused ||= amqpCode(error) === 403;
    };
    const { key, headers } = routingOf(event, trace);
    const { CC: _keys, ...ownHeaders } = headers;
    opened.on('return', onReturn);
    opened.on('error', onError);
    try {
      await within(
        sendConfirmed(
          opened,
          {
            queue: target === 'queue' ? name : key,
            content: Buffer.from(JSON.stringify(event)),
            messageId: `${event.build_id}/${event.attempt}/${event.sequence}`,
            type: 'imagebuilder.event',
          },
          target === 'queue' ? '' : name,
          {
            correlationId: toShortString(String(event.ticket_id)),
            timestamp: Math.floor(Date.parse(event.time) / 1000),
            // By the default exchange, a further key would be the name of a further queue.
            headers: target === 'queue' ? ownHeaders : headers,
          },
        ),
        patience,
      );
    } catch (error) {
      // A confirmation, or the news that the name is gone, may still come, for a message that nobody waits for any more.
      channels.drop(name);
      if (!gone && !refused) throw error;
    } finally {
      opened.off('return', onReturn);
      opened.off('error', onError);
    }
    return refused ? 'refused' : gone ? 'gone' : 'sent';
  };

  const send = async (sending: Sending, deadline: number): Promise<boolean> => {
    const { event } = sending;
    const name = event.progress_trigger;
    // A job or an event in RabbitMQ is trusted as little as a request.
    if (!ExchangeName.safeParse(name).success) {
      log.warn('the progress trigger is no name that a caller may use', { build_id: event.build_id });
      return false;
    }
    while (Date.now() < deadline) {
      try {
        const target = await look(name, deadline - Date.now());
        if (target === 'nowhere') return false;
        const outcome = await sendTo(target, sending, deadline - Date.now());
        if (outcome === 'sent') return true;
        if (outcome === 'overtaken') return false;
        if (outcome === 'refused') {
          remembered.set(name, { target: 'nowhere', until: Date.now() + rememberMs });
          log.warn('the progress trigger may not be written to', { build_id: event.build_id, progress_trigger: name });
          return false;
        }
        remembered.delete(name);
      } catch (error) {
        if (Date.now() >= deadline) {
          log.warn('an event could not be sent to the progress trigger', {
            build_id: event.build_id,
            progress_trigger: name,
            sequence: event.sequence,
            error,
          });
          return false;
        }
        await sleep(100);
      }
    }
    return false;
  };

  return {
    async send(event, trace) {
      const name = event.progress_trigger;
      // The limit counts from the call, so that a long line makes no call wait longer.
      const deadline = Date.now() + (isTerminal(event.state) ? terminalPatienceMs : patienceMs);
      const before = lines.get(name) ?? Promise.resolve(true);
      const sent = before.then(() => send({ event, trace }, deadline));
      lines.set(name, sent);
      try {
        return await sent;
      } finally {
        if (lines.get(name) === sent) lines.delete(name);
      }
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(lines.values());
      await channels[Symbol.asyncDispose]();
    },
  };
}
