/**
 * Go's durations, in which OpenFaaS writes every timeout: `90s`, `1m5s`, `1.5h`, `300ms`; a whole number alone means
 * seconds, as in the watchdogs. Returns milliseconds, or undefined for other text.
 */
export function parseGoDuration(text: string): number | undefined {
  if (/^[0-9]+$/.test(text)) return Number(text) * 1000;
  const part = /([0-9]+(?:\.[0-9]*)?)(ns|us|µs|μs|ms|s|m|h)/y;
  let total = 0;
  do {
    const [, amount, unit = ''] = part.exec(text) ?? [];
    if (amount === undefined) return undefined;
    total += Number(amount) * (millisecondsPer[unit] ?? 0);
  } while (part.lastIndex < text.length);
  return total;
}

const millisecondsPer: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3, // U+00B5, micro sign
  μs: 1e-3, // U+03BC, Greek mu: Go takes both
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};
