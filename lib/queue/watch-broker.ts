import { pause } from '../async.ts';
import type { Log } from '../log.ts';
import { createLog } from '../log.ts';
import { type ConnectionOptions, openConnection } from './connection.ts';
import { declareTopology, type Retention } from './declare-topology.ts';

/** Watches whether RabbitMQ can be used, for a process that has no other use for it. */
export interface BrokerWatch extends AsyncDisposable {
  /** Whether functions can use it now. */
  reachable(): boolean;
}

export interface BrokerWatchOptions extends Pick<ConnectionOptions, 'amqpUrl' | 'certificates' | 'name'> {
  readonly retention: Retention;
  readonly log: Log;
}

export const brokerAdvice = 'start RabbitMQ, or set IMAGEBUILDER_AMQP_URL or the secret imagebuilder-amqp-url';

const lookMs = 250;
/** Outages shorter than this are not worth a word. */
const graceMs = 1_000;
/** Pause between the first two lines about an outage, and the longest one: each is twice as long as the one before. */
const firstPauseMs = 30_000;
const longestPauseMs = 10 * 60_000;

/** Starts watching, and says in the log, at once and again and again, that RabbitMQ is away; and when it is back. */
export async function watchBroker({ retention, log, ...options }: BrokerWatchOptions): Promise<BrokerWatch> {
  const quiet = createLog({ write: () => {} });
  const connection = await openConnection({
    ...options,
    setup: (model) => declareTopology(model, retention, quiet),
    log: quiet,
  });
  const stopping = new AbortController();

  const watch = async () => {
    let awaySince: number | null = null;
    let sayAt = 0;
    let pauseMs = firstPauseMs;
    while (!stopping.signal.aborted) {
      const { reachable, message: reason } = connection.reachable();
      const now = Date.now();
      if (reachable) {
        if (awaySince !== null && sayAt > awaySince + graceMs) log.info('RabbitMQ can be used again');
        awaySince = null;
      } else if (awaySince === null) {
        // On a busy machine the first handshake may take seconds.
        if (connection.hasTried) awaySince = now;
        sayAt = now + graceMs;
        pauseMs = firstPauseMs;
      } else if (now >= sayAt) {
        const seconds = Math.round((now - awaySince) / 1000);
        log.error('without RabbitMQ no build can be submitted or run', { reason, todo: brokerAdvice, seconds });
        sayAt = now + pauseMs;
        pauseMs = Math.min(2 * pauseMs, longestPauseMs);
      }
      await pause(lookMs, stopping.signal);
    }
  };
  const watching = watch();

  return {
    reachable: () => connection.reachable().reachable,
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await watching;
      await connection[Symbol.asyncDispose]();
    },
  };
}
