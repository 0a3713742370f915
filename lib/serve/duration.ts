import { parseGoDuration } from '../../template/node24-ts/duration.ts';
import { pairs, type RawHeaders } from './headers.ts';

/**
 * The time limit that a call asks for by X-Timeout, in milliseconds, as the watchdog reads it: a duration with a unit, in
 * the first of such headers. Undefined for other text, and for none. Unlike for the watchdog, zero is no limit to lift
 * another.
 */
export function requestedTimeoutMs(headers: RawHeaders): number | undefined {
  const [, text = ''] = pairs(headers).find(([name]) => name.toLowerCase() === 'x-timeout') ?? [];
  if (/^[0-9]*$/.test(text)) return undefined;
  return parseGoDuration(text) || undefined;
}
