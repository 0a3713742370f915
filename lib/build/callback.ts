import { createHmac } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BuildEvent } from '../api/event.ts';
import { safeUrl } from '../errors.ts';
import type { Log } from '../log.ts';

export interface Callback {
  readonly url: string;
  /** The X-Call-Id of the call that asked for it. */
  readonly callId: string;
}

export interface CallbackOptions {
  /** POSTs a body and resolves with the status of the answer; rejects when there was none. */
  readonly post: (
    url: string,
    body: string,
    headers: Readonly<Record<string, string>>,
    options: { readonly signal?: AbortSignal },
  ) => Promise<number>;
  /** Key of the HMAC-SHA256 over the body; null sends no signature. */
  readonly signingKey: string | null;
  readonly durationSeconds: number;
  /** How long an unreachable receiver is tried again. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  readonly log: Log;
}

const firstPauseMs = 1_000;
const longestPauseMs = 60_000;

/**
 * Sends the terminal event of a build to the caller's callback URL, with OpenFaaS's headers and our signature
 * (`X-Signature: sha256=<hex HMAC-SHA256 of the body>`). Retried while the receiver is away or answers 408, 429 or 5xx.
 * Never throws: true when it was taken, false when it was given up, which is logged.
 */
export async function sendCallback(callback: Callback, event: BuildEvent, options: CallbackOptions): Promise<boolean> {
  const body = JSON.stringify(event);
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    'x-call-id': callback.callId,
    'x-function-name': 'build-image',
    'x-function-status': event.state === 'completed' ? '200' : '500',
    'x-duration-seconds': options.durationSeconds.toFixed(6),
  };
  if (options.signingKey !== null) {
    headers['x-signature'] = `sha256=${createHmac('sha256', options.signingKey).update(body).digest('hex')}`;
  }
  const deadline = Date.now() + options.timeoutMs;
  const fields = { callback_url: safeUrl(callback.url), build_id: event.build_id };
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
    let reason: string;
    try {
      const status = await options.post(callback.url, body, headers, options.signal ? { signal: options.signal } : {});
      if (status < 300) return true;
      reason = `it answered ${status}`;
      if (status !== 408 && status !== 429 && status < 500) {
        options.log.warn('callback refused', { ...fields, reason });
        return false;
      }
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error);
    }
    const waitMs = pauseMs * (0.75 + Math.random() / 2);
    if (Date.now() + waitMs > deadline || options.signal?.aborted === true) {
      options.log.warn('callback given up', { ...fields, reason });
      return false;
    }
    options.log.info('callback failed, trying again', { ...fields, reason, wait_ms: Math.round(waitMs) });
    await sleep(waitMs, undefined, options.signal ? { signal: options.signal } : {}).catch(() => undefined);
  }
}
