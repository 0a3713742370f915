import type { Readable } from 'node:stream';
import { ImageBuilderError } from '../errors.ts';
import { type ByteRange, parseByteRange } from './byte-range.ts';
import type { Call } from './call.ts';

/** Sends logs as text. */

/**
 * A text of `size` bytes, or the part of it that the call asks for (RFC 9110, 14). `isEnded` is false where the text may still
 * grow, `mayBeParted` where bytes of it may be missing. Throws `request.range` where there is no such part.
 */
export function sendText(
  { headers }: { readonly headers: Readonly<Record<string, string>> },
  call: Call,
  size: number,
  isEnded: boolean,
  read: (range: ByteRange) => Readable,
  mayBeParted = true,
): Readable {
  const whole = { from: 0, to: size };
  // Without an ETag, no If-Range holds.
  const wanted = mayBeParted && headers['if-range'] === undefined ? parseByteRange(headers.range, size) : null;
  if (wanted === 'outside') {
    call.headers({ 'content-range': `bytes */${size}` });
    throw new ImageBuilderError('request.range', `the log has ${size} bytes${isEnded ? '' : ' so far'}`);
  }
  const { from, to } = wanted ?? whole;
  // First: where it throws, the answer is another.
  const text = read({ from, to });
  call.headers({
    'content-type': 'text/plain; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...(mayBeParted ? { 'accept-ranges': 'bytes', 'content-length': String(to - from) } : {}),
  });
  if (wanted !== null) {
    call.status(206);
    call.headers({ 'content-range': `bytes ${from}-${to - 1}/${isEnded ? size : '*'}` });
  }
  return text;
}
