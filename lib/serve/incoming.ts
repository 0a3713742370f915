import type { IncomingMessage } from 'node:http';
import type { Exchange } from '../../template/node24-ts/connections.ts';
import { type BodyFault, type BodyLimits, hasBody, readBody } from '../../template/node24-ts/read-body.ts';
import { ImageBuilderError } from '../errors.ts';
import { endToEnd } from './headers.ts';

/** The request of a caller of the gateway, as a function gets it. */

/**
 * Reads the body of a call before the call takes a place of anything. Throws `request.too_large`, `request.timeout`
 * and, where too many bodies are being read, `worker.busy`.
 *
 * @param name Of the function, for people.
 */
export async function takeBody(
  request: IncomingMessage,
  exchange: Exchange,
  limits: BodyLimits,
  name: string,
): Promise<Buffer> {
  const body = await readBody(request, limits, exchange.hold);
  if (typeof body === 'string') throw explain(body, limits, name);
  exchange.whole();
  return body;
}

/** The headers of a request as the function gets them, without those that identify the call. */
export function forwardedHeaders(request: IncomingMessage, body: Buffer): string[] {
  const headers = endToEnd(request.rawHeaders, ['x-call-id', 'x-start-time', 'expect', 'content-length']);
  const has = (name: string) => request.headers[name] !== undefined;
  if (!has('x-forwarded-for')) headers.push('X-Forwarded-For', request.socket.remoteAddress ?? '');
  if (!has('x-forwarded-host')) headers.push('X-Forwarded-Host', request.headers.host ?? '');
  // The body is sent on in one piece, however it arrived.
  if (hasBody(request) || has('content-length')) headers.push('Content-Length', String(body.length));
  return headers;
}

function explain(fault: BodyFault, limits: BodyLimits, name: string): ImageBuilderError {
  switch (fault) {
    case 'too large': {
      const most = `the body is larger than ${limits.maximumBytes} bytes, the most that is taken`;
      const message = limits.maximumBytes === 0 ? `the function ${name} takes no body` : most;
      return new ImageBuilderError('request.too_large', message);
    }
    case 'too slow':
      return new ImageBuilderError(
        'request.timeout',
        `the body did not come within ${limits.totalMs / 1000} s, or nothing of it for ${limits.stallMs / 1000} s`,
      );
    case 'no room':
      return new ImageBuilderError(
        'worker.busy',
        'there is no memory for the body now: too many others are being read',
        { retryAfterSeconds: 5 },
      );
  }
}
