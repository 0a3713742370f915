import http from 'node:http';
import https from 'node:https';
import got, { HTTPError } from 'got';
import { safeUrl } from '../errors.ts';
import type { Egress } from '../http/egress.ts';
import type { Log } from '../log.ts';
import { endToEnd, gatewayHeaders, pairs, type RawHeaders, seconds } from './headers.ts';

/** The function's answer, read whole. */
export interface Answer {
  readonly status: number;
  readonly headers: RawHeaders;
  readonly body: Buffer;
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
const attemptTimeoutMs = 10_000;
/** Most bytes of a receiver's answer; they are not used. */
const maximumAnswerBytes = 64 * 1024;
const retries = 3;

/**
 * POSTs a function's answer to the X-Callback-Url of its asynchronous call: the body and headers of the answer, and
 * X-Call-Id, X-Function-Name, X-Function-Status, X-Duration-Seconds. Unlike OpenFaaS CE, a callback URL that is out of
 * reach or answers 5xx is tried again a few times; then the loss is logged. The egress rules apply to it as to every
 * URL that a caller names.
 */
export async function sendCallback(
  { url, callId, functionName, answer }: Callback,
  egress: Egress,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const headers: Record<string, string[]> = {};
  for (const [name, value] of pairs(endToEnd(answer.headers, [...gatewayHeaders, 'content-length', 'date']))) {
    const key = name.toLowerCase();
    headers[key] = [...(headers[key] ?? []), value];
  }
  const tooMuch = new AbortController();
  try {
    const call = got.post(egress.checkUrl(url), {
      headers: {
        ...headers,
        'x-call-id': callId,
        'x-function-name': functionName,
        'x-function-status': String(answer.status),
        'x-duration-seconds': seconds(answer.durationMs),
      },
      body: answer.body,
      decompress: false,
      followRedirect: false,
      agent: {
        http: new http.Agent({ lookup: egress.lookup }),
        https: new https.Agent({ lookup: egress.lookup }),
      },
      timeout: { request: attemptTimeoutMs },
      retry: { limit: retries, methods: ['POST'] },
      signal: AbortSignal.any([signal, tooMuch.signal]),
    });
    call.on('downloadProgress', ({ transferred }) => {
      if (transferred > maximumAnswerBytes) tooMuch.abort();
    });
    await call;
  } catch (error) {
    const status = error instanceof HTTPError ? `status ${error.response.statusCode}` : (error as Error).message;
    const reason = tooMuch.signal.aborted ? `it answers more than ${maximumAnswerBytes} bytes` : status;
    log.warn('callback failed', { call_id: callId, url: safeUrl(url), reason });
  }
}
