import { messageOf, safeUrl } from '../errors.ts';
import { createConnections } from '../http/connections.ts';
import { statusError } from '../http/upstream-error.ts';
import type { Log } from '../log.ts';
import { version } from '../version.ts';

export interface Wake extends AsyncDisposable {
  /** Whether workers answer before they build. */
  readonly early: boolean;
  /** Asks the gateway to wake a worker, without waiting for it. */
  readonly send: () => void;
  /**
   * Does the same a little later, or when this is disposed: for a wake that has reached a worker that stops, since the
   * gateway may not know yet that it does. Several at once become one.
   */
  readonly passOn: () => void;
}

export interface WakeOptions {
  readonly gatewayUrl: string;
  /** Path of a Unix socket to use instead of the network; empty: none. */
  readonly wakeSocket: string;
  /** Whether the worker is to answer before it builds or afterwards. Through a socket it always answers afterwards. */
  readonly wakeAnswer: 'early' | 'late';
  readonly log: Log;
  /** Time before a wake is passed on; default two seconds. */
  readonly passOnMs?: number;
}

/**
 * The preference (RFC 7240, 4.1) of a wake that is to be answered before the worker builds: the queue worker of OpenFaaS
 * CE makes no other asynchronous call of its cluster while one is on, for up to the gateway's upstream_timeout.
 */
export const respondAsync = 'respond-async';

const timeoutMs = 5_000;

/**
 * Wakes a worker through the gateway's asynchronous call. The call carries no job, so a lost or repeated call loses and
 * repeats nothing; the cron annotation of `build-worker` wakes a worker anyway. It carries no token either: OpenFaaS's
 * queue worker writes the headers of every call into its log.
 */
export function createWake({ gatewayUrl, wakeSocket, wakeAnswer, log, passOnMs = 2_000 }: WakeOptions): Wake {
  const url = `${gatewayUrl}/async-function/build-worker`;
  const limits = { connectTimeoutMs: timeoutMs, stallTimeoutMs: timeoutMs, keepAlive: false };
  const connections = createConnections({ ...limits, userAgent: `imagebuilder/${version}`, socketPath: wakeSocket });
  const early = wakeAnswer === 'early' && wakeSocket === '';
  const headers = early ? { prefer: respondAsync } : {};
  const underWay = new Set<Promise<void>>();
  const post = async () => {
    try {
      using response = await connections.send(url, { method: 'POST', headers, totalTimeoutMs: timeoutMs });
      if (response.status >= 300) throw statusError(response, 'upstream.status');
    } catch (error) {
      const reason = messageOf(error);
      log.warn('no worker could be woken; the next timer does it', { gateway: safeUrl(gatewayUrl), reason });
    }
  };
  const send = () => {
    const call = post().finally(() => underWay.delete(call));
    underWay.add(call);
  };
  let owed: NodeJS.Timeout | undefined;
  const pay = () => {
    if (owed === undefined) return;
    clearTimeout(owed);
    owed = undefined;
    send();
  };
  return {
    early,
    send,
    passOn() {
      owed ??= setTimeout(pay, passOnMs);
    },
    async [Symbol.asyncDispose]() {
      pay();
      await Promise.all(underWay);
    },
  };
}
