import { TimeoutError } from 'got';
import { type ErrorCode, ImageBuilderError, isNodeError, safeUrl } from '../errors.ts';

/** A failure of a server, with what a caller needs to decide whether to try again. */
export class UpstreamError extends ImageBuilderError {
  /** True where the same request may well succeed in a moment. */
  readonly transient: boolean;
  /** Status the server answered with; null when there was no answer. */
  readonly upstreamStatus: number | null;
  /** True when the server was too slow. */
  readonly timedOut: boolean;

  constructor(
    code: ErrorCode,
    message: string,
    details: {
      readonly transient: boolean;
      readonly upstreamStatus?: number;
      readonly timedOut?: boolean;
      readonly retryAfterSeconds?: number | undefined;
      readonly cause?: unknown;
    },
  ) {
    super(code, message, {
      cause: details.cause,
      ...(details.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: details.retryAfterSeconds }),
    });
    this.transient = details.transient;
    this.upstreamStatus = details.upstreamStatus ?? null;
    this.timedOut = details.timedOut ?? false;
  }
}

/**
 * Whether the same request may succeed a moment after this status (RFC 9110; 425: RFC 8470, 429: RFC 6585). Of the
 * server's errors only those do not pass that say what it can do at all; 520 to 530 are what CDNs say of their origin.
 */
function isTransient(status: number): boolean {
  return [408, 425, 429].includes(status) || (status >= 500 && ![501, 505, 511].includes(status));
}

/** The error of an answer whose status is not what was asked for. `notFoundCode` is the code for 404 and 410. */
export function statusError(
  response: {
    readonly url: string;
    readonly status: number;
    readonly statusText: string;
    readonly retryAfter?: string;
  },
  notFoundCode: ErrorCode,
): UpstreamError {
  const { status } = response;
  const text = response.statusText === '' ? '' : ` ${response.statusText.slice(0, 100)}`;
  const retryAfterSeconds = parseRetryAfter(response.retryAfter);
  const asked = retryAfterSeconds === undefined ? '' : ` and asks to be left alone for ${retryAfterSeconds} seconds`;
  const message = `${safeUrl(response.url)} answered ${status}${text}${asked}`;
  return new UpstreamError(statusCode(status, notFoundCode), message, {
    transient: isTransient(status),
    upstreamStatus: status,
    retryAfterSeconds,
  });
}

function statusCode(status: number, notFoundCode: ErrorCode): ErrorCode {
  if (status === 404 || status === 410) return notFoundCode;
  if (status === 401 || status === 403) return 'upstream.forbidden';
  return isTransient(status) ? 'upstream.status' : 'upstream.unusable';
}

/**
 * Any error of a request as ours: an ImageBuilderError found among the causes as it is, otherwise
 * `upstream.unreachable`, or `upstream.unusable` where it will not pass by itself.
 */
export function toUpstreamError(error: unknown, url: string): ImageBuilderError {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof ImageBuilderError) return cause;
  }
  const { what, transient } = describe(error);
  return new UpstreamError(transient ? 'upstream.unreachable' : 'upstream.unusable', `${safeUrl(url)}: ${what}`, {
    transient,
    timedOut: error instanceof TimeoutError,
    cause: error,
  });
}

function describe(error: unknown): { what: string; transient: boolean } {
  if (error instanceof TimeoutError) {
    const slow =
      error.event === 'response' ? 'the server did not answer in time' : `no connection in time (${error.event})`;
    return { what: slow, transient: true };
  }
  const code = isNodeError(error) ? (error.code ?? '') : '';
  const message = error instanceof Error ? error.message : String(error);
  if (code === 'ENOTFOUND') return { what: 'DNS knows no such host', transient: false };
  if (code === 'EAI_AGAIN') return { what: 'DNS does not answer', transient: true };
  if (code === 'ECONNREFUSED') return { what: 'the connection was refused', transient: true };
  if (code === 'ECONNRESET' || code === 'EPIPE' || code.startsWith('ERR_GOT_') || code === 'ERR_BODY_PARSE_FAILURE') {
    return { what: 'the connection was cut', transient: true };
  }
  if (code === 'ERR_HTTP_CONTENT_LENGTH_MISMATCH') {
    return { what: `the connection was cut (${firstLine(message)})`, transient: true };
  }
  if (code === 'EHOSTUNREACH' || code === 'ENETUNREACH')
    return { what: 'there is no route to the host', transient: true };
  if (code === 'ETIMEDOUT') return { what: 'no connection in time', transient: true };
  if (code.startsWith('HPE_')) return { what: `the answer is not HTTP (${code})`, transient: true };
  if (code === 'EPROTO' || /CERT|TLS|SSL|UNABLE_TO_/.test(code)) {
    return { what: `TLS failed (${code}): ${firstLine(message)}`, transient: false };
  }
  return { what: firstLine(message), transient: code !== '' };
}

const firstLine = (text: string) => (text.split('\n', 1)[0] ?? '').slice(0, 200);

/** Seconds of a Retry-After field, which holds seconds or an HTTP date. */
function parseRetryAfter(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (/^[0-9]{1,9}$/.test(value)) return Number(value);
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil((date - Date.now()) / 1000));
}
