import { pause } from '../async.ts';
import { ImageBuilderError } from '../errors.ts';
import type { Client } from './client.ts';

const reconnectMs = 1_000;
/** Longest absence of the gateway. */
const patienceMs = 120_000;

/**
 * The lines of the log of a build as they come, until it has ended. Connects again where the connection is cut, and goes on
 * with the next line. Throws the error of the API, the last one when the gateway was away for two minutes, and the signal's
 * reason.
 */
export async function* followLog(client: Client, buildId: string, signal: AbortSignal): AsyncGenerator<string, void> {
  let last: string | undefined;
  let aliveMs: number | undefined;
  const onAlive = () => {
    aliveMs = performance.now();
  };
  for (;;) {
    try {
      for await (const { id, event, data } of client.logEvents(buildId, last, onAlive)) {
        last = id;
        if (event === 'end') return;
        yield data;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ImageBuilderError) || !error.retryable) throw error;
      if (aliveMs === undefined || performance.now() - aliveMs >= patienceMs) throw error;
    }
    await pause(reconnectMs, signal);
    signal.throwIfAborted();
  }
}
