import { safeUrl } from '../errors.ts';
import { createConnections } from '../http/connections.ts';
import { statusError } from '../http/upstream-error.ts';
import type { Log } from '../log.ts';
import { version } from '../version.ts';

export interface Wake extends AsyncDisposable {
  /** Asks the gateway to wake a worker, without waiting for it. */
  readonly send: () => void;
}

export interface WakeOptions {
  readonly gatewayUrl: string;
  /** Path of a Unix socket to use instead of the network; empty: none. */
  readonly wakeSocket: string;
  readonly log: Log;
}

const timeoutMs = 5_000;

/**
 * Wakes a worker through the gateway's asynchronous call. The call carries no job, so a lost or repeated call loses and
 * repeats nothing; the cron annotation of `build-worker` wakes a worker anyway. It carries no token either: OpenFaaS's
 * queue worker writes the headers of every call into its log.
 */
export function createWake({ gatewayUrl, wakeSocket, log }: WakeOptions): Wake {
  const url = `${gatewayUrl}/async-function/build-worker`;
  const limits = { connectTimeoutMs: timeoutMs, stallTimeoutMs: timeoutMs, keepAlive: false };
  const connections = createConnections({ ...limits, userAgent: `imagebuilder/${version}`, socketPath: wakeSocket });
  const underWay = new Set<Promise<void>>();
  const post = async () => {
    try {
      using response = await connections.send(url, { method: 'POST', totalTimeoutMs: timeoutMs });
      if (response.status >= 300) throw statusError(response, 'upstream.status');
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      log.warn('no worker could be woken; the next timer does it', { gateway: safeUrl(gatewayUrl), reason });
    }
  };
  return {
    send() {
      const call = post().finally(() => underWay.delete(call));
      underWay.add(call);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(underWay);
    },
  };
}
