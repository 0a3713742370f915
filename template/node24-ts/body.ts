import type { IncomingMessage } from 'node:http';
import { ProblemError } from './problem.ts';

/** Reading and parsing the body of a request. */

/** How long what a caller goes on sending after a 413 is thrown away before the connection is cut. */
const lingerMs = 1_000;

/**
 * Reads the whole body. Throws `request.too_large` as soon as it is known to exceed `maximumBytes`, before reading it
 * where Content-Length tells; throws the connection's error when the caller goes away.
 */
export async function readBody(request: IncomingMessage, maximumBytes: number): Promise<Buffer> {
  if (declaresMoreThan(request, maximumBytes)) throw tooLarge(maximumBytes);
  const chunks: Buffer[] = [];
  let size = 0;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onData = (chunk: Buffer) => {
    size += chunk.length;
    if (size > maximumBytes) reject(tooLarge(maximumBytes));
    else chunks.push(chunk);
  };
  request.on('data', onData).once('end', resolve).once('error', reject);
  try {
    await promise;
    return Buffer.concat(chunks);
  } finally {
    request.off('data', onData);
  }
}

/** Whether Content-Length says that the body is longer than `bytes`. */
export function declaresMoreThan(request: IncomingMessage, bytes: number): boolean {
  return Number(request.headers['content-length'] ?? 0) > bytes;
}

/**
 * Throws away the rest of a body that nobody wants, for at most a second. Closing a socket that holds unread data
 * resets the connection, and the caller would lose the answer that tells why.
 */
export function discardRest(request: IncomingMessage): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (request.readableEnded || request.destroyed) return Promise.resolve();
  const timer = setTimeout(resolve, lingerMs);
  request.once('close', resolve).once('end', resolve).resume();
  return promise.finally(() => clearTimeout(timer));
}

/** The body as the handler gets it, by its media type. Throws `request.malformed` where JSON was said but is not there. */
export function parseBody(raw: Buffer, contentType: string | undefined): unknown {
  if (raw.length === 0) return undefined;
  const mediaType = (contentType?.split(';', 1)[0] ?? '').trim().toLowerCase();
  if (mediaType === 'application/json' || mediaType.endsWith('+json')) return parseJson(raw);
  return mediaType.startsWith('text/') ? raw.toString('utf8') : raw;
}

function parseJson(raw: Buffer): unknown {
  try {
    // RFC 8259: JSON is UTF-8 whatever a charset parameter says. A byte order mark is allowed and dropped.
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(raw));
  } catch (error) {
    throw new ProblemError('request.malformed', `the body is not JSON: ${(error as Error).message}`);
  }
}

function tooLarge(maximumBytes: number): ProblemError {
  return new ProblemError('request.too_large', `the body is larger than ${maximumBytes} bytes, the most that is taken`);
}
