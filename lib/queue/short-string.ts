/** Bytes of AMQP 0-9-1's type shortstr, which names and most properties of messages are. */
const maximumBytes = 255;

/** As much of `text` as an AMQP short string can hold: cut where its UTF-8 grows too long, never within a character. */
export function toShortString(text: string): string {
  const bytes = new TextEncoder().encode(text).subarray(0, maximumBytes);
  // As a part of a longer stream, an incomplete last character is held back.
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes, { stream: true });
}
