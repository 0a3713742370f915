import type { HttpSettings } from '../config/http.ts';
import { ImageBuilderError } from '../errors.ts';
import { createHttpClient } from '../http/client.ts';
import type { Egress } from '../http/egress.ts';
import type { Log } from '../log.ts';
import { version } from '../version.ts';
import { attemptTimeoutMs, type Callback, sendCallback } from './callback.ts';
import { pairs } from './headers.ts';

/** The callbacks of asynchronous calls on their way, outside the functions' queues: a receiver that never answers holds up no call. */

export interface Callbacks {
  /** Sends it later. Where too many callbacks wait already, in all or for its host, it drops this one and logs that. */
  add(callback: Callback): void;
  /** Resolves when the waiting callbacks have been sent; drops the rest after seconds, or when `force` aborts. */
  stop(): Promise<void>;
}

interface Waiting {
  readonly callback: Callback;
  readonly host: string;
  readonly bytes: number;
}

const concurrency = 32;
const concurrencyPerHost = 4;
const maximumWaiting = 1_000;
const maximumWaitingPerHost = 100;
/** Most bytes of the waiting answers. */
const maximumBytes = 64 * 1024 * 1024;
/** Time that a stopping gateway waits for receivers. */
const stopPatienceMs = 5_000;

export interface CallbacksOptions {
  /** Rules for the URLs. */
  readonly egress: Egress;
  readonly http: Pick<HttpSettings, 'proxies' | 'trust'>;
  readonly log: Log;
  /** Aborting it gives up the callbacks on their way. */
  readonly force: AbortSignal;
}

const retry = { attempts: 4, slowAttempts: 4, maximumDelayMs: 10_000 };

/** Creates the queue of callbacks. */
export function createCallbacks({ egress, http, log, force }: CallbacksOptions): Callbacks {
  const limits = { connectTimeoutMs: attemptTimeoutMs, stallTimeoutMs: attemptTimeoutMs, keepAlive: false, retry };
  const client = createHttpClient({ ...limits, ...http, egress, userAgent: `imagebuilder/${version}` });
  const waiting: Waiting[] = [];
  const running = new Map<Promise<void>, string>();
  const givenUp = new AbortController();
  let waitingBytes = 0;

  const runningFor = (host: string) => [...running.values()].filter((one) => one === host).length;
  const drop = (callback: Callback, reason: string) =>
    log.warn('callback dropped', { function: callback.functionName, call_id: callback.callId, reason });
  const giveUp = () => {
    for (const { callback } of waiting.splice(0)) drop(callback, 'the gateway stops');
    givenUp.abort(new ImageBuilderError('worker.stopping', 'the gateway stops'));
  };
  force.addEventListener('abort', giveUp, { once: true });

  const pump = () => {
    while (running.size < concurrency) {
      const index = waiting.findIndex(({ host }) => runningFor(host) < concurrencyPerHost);
      const [next] = index === -1 ? [] : waiting.splice(index, 1);
      if (next === undefined) return;
      waitingBytes -= next.bytes;
      const run = sendCallback(next.callback, client, log, givenUp.signal).finally(() => {
        running.delete(run);
        pump();
      });
      running.set(run, next.host);
    }
  };

  return {
    add(callback) {
      // Without the port: a receiver that can listen on one port can listen on many.
      const host = new URL(callback.url).hostname;
      const bytes = bytesOf(callback);
      if (waiting.length >= maximumWaiting || waitingBytes + bytes > maximumBytes) {
        return drop(callback, 'too many callbacks wait');
      }
      if (waiting.filter((other) => other.host === host).length >= maximumWaitingPerHost) {
        return drop(callback, 'too many callbacks wait for its host');
      }
      waiting.push({ callback, host, bytes });
      waitingBytes += bytes;
      pump();
    },
    async stop() {
      const timer = setTimeout(giveUp, stopPatienceMs);
      while (running.size > 0) await Promise.race(running.keys());
      clearTimeout(timer);
    },
  };
}

function bytesOf({ url, answer }: Callback): number {
  const headers = pairs(answer.headers).reduce((sum, [name, value]) => sum + name.length + value.length, 0);
  return answer.body.length + headers + url.length;
}
