import type { IncomingMessage } from 'node:http';

/**
 * Reads the body of a request within limits. The gateway of `imagebuilder serve` imports this file too.
 */

export interface BodyLimits {
  /** A longer body is refused; 0: every body is. */
  readonly maximumBytes: number;
  /** Longest pause within a body, in milliseconds. */
  readonly stallMs: number;
  /** Longest time for the whole body, in milliseconds. */
  readonly totalMs: number;
}

/** The reason why a body was refused. */
export type BodyFault = 'too large' | 'too slow' | 'no room';

/** After a refusal, bytes that the caller goes on sending are thrown away for this long; then the connection is cut. */
const lingerMs = 1_000;

/**
 * Reads the whole body, or returns the reason why not, as soon as that is known. `hold` reserves so many bytes of
 * memory for it, and returns whether there is room for them. Throws the connection's error when the caller goes away.
 */
export async function readBody(
  request: IncomingMessage,
  limits: BodyLimits,
  hold: (bytes: number) => boolean,
): Promise<Buffer | BodyFault> {
  const { maximumBytes, stallMs, totalMs } = limits;
  if (isTooLarge(request, maximumBytes)) return 'too large';
  const declared = Number(request.headers['content-length'] ?? 0);
  // One buffer that grows, not a list of chunks: a chunk of one byte takes some hundred bytes of memory.
  let kept = Buffer.alloc(0);
  let size = 0;
  const { promise, resolve, reject } = Promise.withResolvers<BodyFault | undefined>();
  const stall = setTimeout(resolve, stallMs, 'too slow');
  const total = setTimeout(resolve, totalMs, 'too slow');
  const onData = (chunk: Buffer) => {
    stall.refresh();
    const needed = size + chunk.length;
    if (needed > maximumBytes) return resolve('too large');
    if (needed > kept.length) {
      const larger = Math.min(maximumBytes, Math.max(needed, declared, 2 * kept.length));
      if (!hold(larger - kept.length)) return resolve('no room');
      const grown = Buffer.allocUnsafeSlow(larger);
      kept.copy(grown, 0, 0, size);
      kept = grown;
    }
    chunk.copy(kept, size);
    size = needed;
  };
  const onEnd = () => resolve(undefined);
  request.on('data', onData).once('end', onEnd).once('error', reject);
  try {
    return (await promise) ?? kept.subarray(0, size);
  } finally {
    clearTimeout(stall);
    clearTimeout(total);
    request.off('data', onData);
  }
}

/** Whether the head of a request says that its body is longer than `maximumBytes`. */
export function isTooLarge(request: IncomingMessage, maximumBytes: number): boolean {
  const declared = Number(request.headers['content-length'] ?? 0);
  return declared > maximumBytes || (maximumBytes === 0 && hasBody(request));
}

/** Whether the request has a body, which may be empty (RFC 9112, 6.3). */
export function hasBody(request: IncomingMessage): boolean {
  return request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0;
}

/**
 * Throws away the rest of an unwanted body, for at most a second. Closing a socket that holds unread data resets the
 * connection, and the caller would lose the answer that says why.
 */
export function discardRest(request: IncomingMessage): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (request.readableEnded || request.destroyed) return Promise.resolve();
  const timer = setTimeout(resolve, lingerMs);
  request.once('close', resolve).once('end', resolve).resume();
  return promise.finally(() => clearTimeout(timer));
}
