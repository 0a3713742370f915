/** A part of a text: from its byte `from` to before its byte `to`. */
export interface ByteRange {
  readonly from: number;
  readonly to: number;
}

/**
 * The part of `size` bytes that a Range header asks for (RFC 9110, 14.1.2): null for all of it, also where the header asks
 * for several parts, for units other than bytes, or is malformed; `outside` where there is no such part.
 */
export function parseByteRange(header: string | undefined, size: number): ByteRange | 'outside' | null {
  const match = /^bytes=([0-9]{0,15})-([0-9]{0,15})$/i.exec(header ?? '');
  const [, first = '', last = ''] = match ?? [];
  if (first === '' && last === '') return null;
  if (first === '')
    return last === '0' || size === 0 ? 'outside' : { from: Math.max(0, size - Number(last)), to: size };
  const from = Number(first);
  const to = last === '' ? size : Math.min(size, Number(last) + 1);
  if (last !== '' && Number(last) < from) return null;
  return from >= size ? 'outside' : { from, to };
}
