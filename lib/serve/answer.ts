import type { ServerResponse } from 'node:http';
import { discardRest, hasBody } from '../../template/node24-ts/read-body.ts';
import { toProblem } from '../api/problem.ts';
import { type ImageBuilderError, toImageBuilderError } from '../errors.ts';

/** Answers with JSON. */
export function sendJson(response: ServerResponse, status: number, value: unknown, contentType = 'application/json') {
  send(response, status, `${JSON.stringify(value)}\n`, contentType);
}

/** Answers with text, which may be empty. */
export function sendText(
  response: ServerResponse,
  status: number,
  text: string,
  contentType = 'text/plain; charset=utf-8',
): void {
  send(response, status, text, text === '' ? undefined : contentType);
}

function send(response: ServerResponse, status: number, text: string, contentType: string | undefined): void {
  const body = Buffer.from(text);
  response.statusCode = status;
  if (contentType !== undefined) response.setHeader('content-type', contentType);
  response.setHeader('content-length', body.length);
  const request = response.req;
  if (request.complete || !hasBody(request)) {
    response.end(body);
    return;
  }
  // The rest of the request is not needed: the answer goes out at once, and the connection closes.
  response.setHeader('connection', 'close');
  if (body.length === 0) response.flushHeaders();
  else response.write(body);
  void discardRest(request).then(() => response.end());
}

/**
 * Answers with a problem document. An answer that has begun already is cut off instead, so that the caller does not
 * take it for complete.
 */
export function sendProblem(response: ServerResponse, thrown: unknown): void {
  const error: ImageBuilderError = toImageBuilderError(thrown);
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  if (error.retryAfterSeconds !== undefined) response.setHeader('retry-after', String(error.retryAfterSeconds));
  if (error.code === 'request.unauthorized') response.setHeader('www-authenticate', 'Bearer realm="imagebuilder"');
  sendJson(response, error.status, toProblem(error), 'application/problem+json');
}
