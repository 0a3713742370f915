import got from 'got';
import { safeUrl } from '../errors.ts';
import type { Log } from '../log.ts';

export interface Wake extends AsyncDisposable {
  /** Asks the gateway for a worker, without waiting for it. */
  readonly send: () => void;
}

const timeoutMs = 5_000;

/**
 * Wakes a worker through the gateway's asynchronous call. The call carries no job, so losing or repeating one loses
 * and repeats nothing: the cron annotation of `build-worker` is the backstop.
 */
export function createWake(options: { gatewayUrl: string; token: string | null; log: Log }): Wake {
  const { gatewayUrl, token, log } = options;
  const url = `${gatewayUrl}/async-function/build-worker`;
  const underWay = new Set<Promise<void>>();
  const post = async () => {
    try {
      await got.post(url, {
        headers: token === null ? {} : { authorization: `Bearer ${token}` },
        timeout: { request: timeoutMs },
        retry: { limit: 0 },
      });
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
