import type { BodyLimits } from './read-body.ts';
import { readWatchdog, type Watchdog } from './watchdog.ts';

/** The template's own environment variables. Handlers have their own. */

export interface Settings {
  /** Address to listen on: a TCP port on loopback (0 takes a free one) or the path of a Unix socket. */
  readonly listen: { readonly port: number; readonly host: string } | { readonly path: string };
  readonly body: BodyLimits;
  readonly maximumInFlight: number;
  readonly watchdog: Watchdog | undefined;
}

const MiB = 1024 * 1024;

/**
 * - `LISTEN_SOCKET`: path of a Unix socket to listen on, instead of `PORT` on 127.0.0.1 (default 3000)
 * - `MAX_BODY_BYTES`: most bytes of a body, default 1 MiB; 0: the function takes none
 * - `BODY_STALL_SECONDS`: longest pause within a body, default 10
 * - `BODY_TIMEOUT_SECONDS`: longest time for a whole body, default 30
 * - `max_inflight`: the watchdog's own variable: calls at a time (`GET /metrics` does not count), default 0, any number
 * - `suppress_lock`, `healthcheck_interval`: the watchdog's own variables, see watchdog.ts
 *
 * Throws an Error that names the variable at fault.
 */
export function readSettings(environment: Readonly<Record<string, string | undefined>>): Settings {
  const wholeNumber = (variable: string, fallback: number, most = Number.MAX_SAFE_INTEGER, least = 0) => {
    const text = environment[variable];
    if (text === undefined || text === '') return fallback;
    const value = Number(text);
    if (/^[0-9]+$/.test(text) && value >= least && value <= most) return value;
    throw new Error(`${variable} is "${text}": it must be a whole number from ${least} to ${most}`);
  };
  const path = environment.LISTEN_SOCKET ?? '';
  return {
    listen: path === '' ? { port: wholeNumber('PORT', 3000, 65_535), host: '127.0.0.1' } : { path },
    body: {
      maximumBytes: wholeNumber('MAX_BODY_BYTES', MiB),
      stallMs: wholeNumber('BODY_STALL_SECONDS', 10, 3_600, 1) * 1_000,
      totalMs: wholeNumber('BODY_TIMEOUT_SECONDS', 30, 3_600, 1) * 1_000,
    },
    maximumInFlight: wholeNumber('max_inflight', 0),
    watchdog: readWatchdog(environment),
  };
}
