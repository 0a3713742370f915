/** Linux takes arguments of up to 128 KiB, and `action-set` has results in its arguments. */
const maximumBytes = 100_000;

/** A text as the result of an action: its end is cut off where it is too long. */
export function resultText(text: string): string {
  const bytes = Buffer.from(text.replaceAll('\0', ''), 'utf8');
  if (bytes.length <= maximumBytes) return bytes.toString('utf8').trimEnd();
  return `${bytes
    .subarray(0, maximumBytes)
    .toString('utf8')
    .replace(/\ufffd$/, '')}\n… (cut off)`;
}
