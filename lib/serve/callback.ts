import { messageOf, safeUrl } from '../errors.ts';
import type { HttpClient } from '../http/client.ts';
import type { Log } from '../log.ts';
import { endToEnd, gatewayHeaders, pairs, type RawHeaders, seconds } from './headers.ts';

/** The function's answer, read whole. */
export interface Answer {
  readonly status: number;
  readonly headers: RawHeaders;
  readonly body: Buffer;
  /** The X-Start-Time of the call to the function, which may have waited before. */
  readonly startTime: string;
  readonly durationMs: number;
}

/** An answer on its way to the X-Callback-Url of its call. */
export interface Callback {
  readonly url: string;
  readonly callId: string;
  readonly functionName: string;
  readonly answer: Answer;
}

/** Time limit of one attempt. */
export const attemptTimeoutMs = 10_000;

/**
 * POSTs a function's answer to the X-Callback-Url of its asynchronous call: the body and headers of the answer, and
 * X-Call-Id, X-Function-Name, X-Function-Status, X-Start-Time, X-Duration-Seconds. Unlike OpenFaaS CE, a callback URL
 * that is out of reach or answers 5xx is tried again as the client does; then the loss is logged. The body of the
 * receiver's answer is not read.
 */
export async function sendCallback(
  { url, callId, functionName, answer }: Callback,
  client: HttpClient,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const headers: Record<string, string[]> = {};
  for (const [name, value] of pairs(endToEnd(answer.headers, [...gatewayHeaders, 'content-length', 'date']))) {
    const key = name.toLowerCase();
    headers[key] = [...(headers[key] ?? []), value];
  }
  try {
    using _ = await client.open(url, {
      method: 'POST',
      headers: {
        ...headers,
        'x-call-id': callId,
        'x-function-name': functionName,
        'x-function-status': String(answer.status),
        'x-start-time': answer.startTime,
        'x-duration-seconds': seconds(answer.durationMs),
      },
      body: answer.body,
      totalTimeoutMs: attemptTimeoutMs,
      signal,
    });
  } catch (error) {
    const reason = messageOf(error);
    log.warn('callback failed', { call_id: callId, url: safeUrl(url), reason });
  }
}
