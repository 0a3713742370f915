import { createHmac } from 'node:crypto';
import type { BuildEvent } from '../api/event.ts';
import { messageOf } from '../errors.ts';
import { isTransientStatus } from '../http/failure.ts';
import { type TraceContext, traceHeadersOf } from '../trace-context.ts';

export interface Callback {
  readonly url: string;
  /** The X-Call-Id of the call that asked for it. */
  readonly callId: string;
  /** The operation that has ended the build, or the one that has submitted it; null where neither is known. */
  readonly trace: TraceContext | null;
}

export interface CallbackOptions {
  /** POSTs a body and resolves with the status of the answer; rejects when there was none. */
  readonly post: (
    url: string,
    body: string,
    headers: Readonly<Record<string, string>>,
    options: { readonly signal: AbortSignal },
  ) => Promise<number>;
  /** Key of the HMAC-SHA256 over the body; null sends no signature. */
  readonly signingKey: string | null;
  readonly durationSeconds: number;
  readonly signal: AbortSignal;
}

/**
 * The result of an attempt. `refused`: another attempt will end no better. `failed`: the receiver may be back later.
 */
export type CallbackAnswer =
  | { readonly outcome: 'taken' }
  | { readonly outcome: 'refused' | 'failed'; readonly reason: string };

/** The time of the submission as OpenFaaS writes X-Start-Time: nanoseconds since 1970. */
function startTimeOf({ time }: BuildEvent, durationSeconds: number): string {
  return String(BigInt(Date.parse(time) - Math.round(durationSeconds * 1000)) * 1_000_000n);
}

/** The X-Signature of a body. docs/api.md has a test vector. */
export function signatureOf(body: string, key: string): string {
  return `sha256=${createHmac('sha256', key).update(body).digest('hex')}`;
}

/**
 * Sends the terminal event of a build to the caller's callback URL once, with OpenFaaS's headers and our signature.
 * No answer, 408, 425, 429 and 5xx are worth another attempt. Never throws.
 */
export async function sendCallback(
  callback: Callback,
  event: BuildEvent,
  options: CallbackOptions,
): Promise<CallbackAnswer> {
  const body = JSON.stringify(event);
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    'x-call-id': callback.callId,
    'x-function-name': 'build-image',
    'x-function-status': event.state === 'completed' ? '200' : '500',
    'x-start-time': startTimeOf(event, options.durationSeconds),
    'x-duration-seconds': options.durationSeconds.toFixed(6),
    ...(callback.trace === null ? {} : traceHeadersOf(callback.trace)),
  };
  if (options.signingKey !== null) {
    headers['x-signature'] = signatureOf(body, options.signingKey);
  }
  try {
    const status = await options.post(callback.url, body, headers, { signal: options.signal });
    if (status < 300) return { outcome: 'taken' };
    const transient = isTransientStatus(status) || status >= 500;
    return { outcome: transient ? 'failed' : 'refused', reason: `it answered ${status}` };
  } catch (error) {
    return { outcome: 'failed', reason: messageOf(error) };
  }
}
