/** Bytes of AMQP 0-9-1's type shortstr, the type of names and of most properties of messages. */
const maximumBytes = 255;

/**
 * The beginning of `text` that fits into an AMQP short string: cut where its UTF-8 grows too long, never within a
 * character.
 */
export function toShortString(text: string): string {
  const bytes = new TextEncoder().encode(text).subarray(0, maximumBytes);
  // The decoder takes the text for a part of a longer stream, so it holds back an incomplete last character.
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes, { stream: true });
}
