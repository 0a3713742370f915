import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { ImageBuilderError } from '../errors.ts';
import { callFunction } from './call.ts';
import { endToEnd, gatewayHeaders, pairs, seconds } from './headers.ts';
import { type ServedFunction, startTimeLimit } from './served-function.ts';

/**
 * `/function/NAME`: passes the request on and the answer back, both as they come. Throws what `sendProblem` is to
 * answer with; resolves when the answer has gone out or the caller has.
 */
export async function serveSyncCall(
  served: ServedFunction,
  path: string,
  identity: readonly string[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { definition } = served;
  const release = served.slots.tryTake();
  if (release === undefined) {
    throw new ImageBuilderError(
      'worker.busy',
      `${definition.maximumInflight} calls of the function ${definition.name} are running, as many as it takes at once`,
      { retryAfterSeconds: 5 },
    );
  }
  const startedAt = performance.now();
  const callerGone = new AbortController();
  const onClose = () => callerGone.abort();
  response.once('close', onClose);
  using limit = startTimeLimit(definition);
  using reading = startReadLimit(request, served);
  try {
    served.calls += 1;
    const signal = AbortSignal.any([limit.signal, reading.signal, callerGone.signal]);
    const headers = [...forwardedHeaders(request), ...identity];
    const answer = await callFunction(
      served.process,
      { method: request.method ?? 'GET', path, headers, body: request },
      signal,
    );
    response.statusCode = answer.statusCode ?? 502;
    if (answer.statusMessage) response.statusMessage = answer.statusMessage;
    response.setHeader('X-Duration-Seconds', seconds(performance.now() - startedAt));
    for (const [name, value] of pairs(endToEnd(answer.rawHeaders, gatewayHeaders))) response.appendHeader(name, value);
    await pipeline(answer, response);
  } catch (error) {
    if (!callerGone.signal.aborted) throw error;
  } finally {
    response.off('close', onClose);
    release();
  }
}

/** The headers of a request as the function gets them, without those that identify the call. */
export function forwardedHeaders(request: IncomingMessage): string[] {
  const headers = endToEnd(request.rawHeaders, ['x-call-id', 'x-start-time', 'expect']);
  const has = (name: string) => request.headers[name] !== undefined;
  if (!has('x-forwarded-for')) headers.push('X-Forwarded-For', request.socket.remoteAddress ?? '');
  if (!has('x-forwarded-host')) headers.push('X-Forwarded-Host', request.headers.host ?? '');
  // The framing of the body belongs to each connection, but without it the function would take a body for none.
  if (!has('content-length') && has('transfer-encoding')) headers.push('Transfer-Encoding', 'chunked');
  return headers;
}

/** Aborts with `function.timeout` when the body of a request does not arrive within the function's read_timeout. */
function startReadLimit(
  request: IncomingMessage,
  served: ServedFunction,
): { readonly signal: AbortSignal } & Disposable {
  const { name, readTimeoutMs } = served.definition;
  const controller = new AbortController();
  const timer = setTimeout(() => {
    if (request.complete) return;
    const message = `the request did not arrive within the read_timeout of ${readTimeoutMs / 1000} s of the function ${name}`;
    controller.abort(new ImageBuilderError('function.timeout', message));
  }, readTimeoutMs);
  return { signal: controller.signal, [Symbol.dispose]: () => clearTimeout(timer) };
}
