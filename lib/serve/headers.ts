/** Header fields in Node's raw form: name, value, name, value, …; repeated ones and their case kept. */
export type RawHeaders = readonly string[];

/** Fields that belong to one connection (RFC 9110, 7.6.1), never passed on. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Headers that the gateway itself sets in an answer; the function's own values for them are left out. */
export const gatewayHeaders = ['x-call-id', 'x-start-time', 'x-duration-seconds'];

/** The fields that may be passed on: without those of the connection, those that it names, and those in `dropped`. */
export function endToEnd(headers: RawHeaders, dropped: readonly string[] = []): string[] {
  const skipped = new Set([...hopByHop, ...dropped]);
  for (const [name, value] of pairs(headers)) {
    if (name.toLowerCase() !== 'connection') continue;
    for (const token of value.split(',')) skipped.add(token.trim().toLowerCase());
  }
  return pairs(headers)
    .filter(([name]) => !skipped.has(name.toLowerCase()))
    .flat();
}

/** The fields as name and value. */
export function pairs(headers: RawHeaders): [name: string, value: string][] {
  const result: [string, string][] = [];
  for (let index = 0; index + 1 < headers.length; index += 2) {
    result.push([headers[index] ?? '', headers[index + 1] ?? '']);
  }
  return result;
}

/** Now, as OpenFaaS writes X-Start-Time: nanoseconds since 1970. */
export function startTimeNow(): string {
  return String(BigInt(Date.now()) * 1_000_000n);
}

/** Seconds as OpenFaaS writes X-Duration-Seconds. */
export function seconds(ms: number): string {
  return (ms / 1000).toFixed(6);
}
