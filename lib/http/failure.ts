import { TimeoutError } from 'got';
import { isNodeError, messageOf } from '../errors.ts';

/** Describes how a request failed, and whether the same one may succeed a moment later. */

export interface HttpFailure {
  /** In words, to follow the name of the server. */
  readonly what: string;
  readonly transient: boolean;
}

/**
 * Whether the same request may succeed a moment after this status (RFC 9110; 425: RFC 8470, 429: RFC 6585). A server's
 * errors pass, except those about its abilities; with 520 to 530, CDNs report errors of their origin.
 */
export function isTransientStatus(status: number): boolean {
  return [408, 425, 429].includes(status) || (status >= 500 && ![501, 505, 511].includes(status));
}

/** A longer wait that a server asks for is cut to a day: such a server is not waited for in any case. */
const longestRetryAfterSeconds = 86_400;

/** Seconds of a Retry-After field, which holds seconds or an HTTP date (RFC 9110), at most a day; undefined for neither. */
export function parseRetryAfter(value: string | undefined): number | undefined {
  if (value === undefined || value.length > 40) return undefined;
  const seconds = /^[0-9]+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.min(Math.max(0, Math.ceil(seconds)), longestRetryAfterSeconds);
}

const cut = 'the connection was cut';
const noRoute = 'there is no route to the host';

/** Codes of Node and got (https://nodejs.org/api/errors.html#common-system-errors) for failures that may pass. */
const transientCodes: ReadonlyMap<string, string> = new Map([
  ['EAI_AGAIN', 'DNS does not answer'],
  ['ECONNREFUSED', 'the connection was refused'],
  ['ECONNRESET', cut],
  ['EPIPE', cut],
  ['ERR_BODY_PARSE_FAILURE', cut],
  ['EHOSTUNREACH', noRoute],
  ['ENETUNREACH', noRoute],
  ['ETIMEDOUT', 'no connection in time'],
]);

/** Describes an error of got or of a socket; null where it is not a known failure of the network. */
export function describeFailure(error: unknown): HttpFailure | null {
  if (error instanceof TimeoutError) {
    const answering = error.event === 'response' || error.event === 'request';
    const what = answering ? 'the server did not answer in time' : `no connection in time (${error.event})`;
    return { what, transient: true };
  }
  if (!isNodeError(error)) return null;
  const { code = '' } = error;
  const known = transientCodes.get(code);
  if (known !== undefined) return { what: known, transient: true };
  if (code.startsWith('ERR_GOT_')) return { what: cut, transient: true };
  if (code === 'ERR_HTTP_CONTENT_LENGTH_MISMATCH') return { what: `${cut} (${firstLine(error)})`, transient: true };
  if (code.startsWith('HPE_')) return { what: `the answer is not HTTP (${code})`, transient: true };
  if (code === 'ENOTFOUND') return { what: 'DNS knows no such host', transient: false };
  if (code === 'EPROTO' || /CERT|TLS|SSL|UNABLE_TO_/.test(code)) {
    return { what: `TLS failed (${code}): ${firstLine(error)}`, transient: false };
  }
  return null;
}

/** The first line of the message of an error, at most 200 characters. */
export function firstLine(error: unknown): string {
  const message = messageOf(error);
  return (message.split('\n', 1)[0] ?? '').slice(0, 200);
}
