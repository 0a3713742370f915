import type { IncomingHttpHeaders } from 'node:http';
import { RequestError, TimeoutError } from 'got';
import { type ErrorCode, ImageBuilderError, isNodeError, safeUrl } from '../errors.ts';
import { describeFailure, firstLine, isTransientStatus, parseRetryAfter } from './failure.ts';

/**
 * A failure of a server that we depend on, whether it serves images, PPAs, callbacks or the store, with the facts by
 * which a caller decides whether to try again.
 */
export class UpstreamError extends ImageBuilderError {
  /** True where the same request may succeed in a moment. */
  readonly transient: boolean;
  /** Status the server answered with; null when there was no answer. */
  readonly upstreamStatus: number | null;
  /** True when the server was too slow. */
  readonly timedOut: boolean;
  /** True when a file had been sent to its end: the server may have taken it although no answer came. */
  readonly bodySent: boolean;

  constructor(code: ErrorCode, message: string, details: UpstreamErrorDetails) {
    super(code, message, {
      cause: details.cause,
      ...(details.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: details.retryAfterSeconds }),
    });
    this.transient = details.transient;
    this.upstreamStatus = details.upstreamStatus ?? null;
    this.timedOut = details.timedOut ?? false;
    this.bodySent = details.bodySent ?? false;
  }
}

export interface UpstreamErrorDetails {
  readonly transient: boolean;
  readonly upstreamStatus?: number;
  readonly timedOut?: boolean;
  readonly bodySent?: boolean;
  readonly retryAfterSeconds?: number | undefined;
  readonly cause?: unknown;
}

/** The error of an answer with an unexpected status. `notFoundCode` is the code for 404 and 410. */
export function statusError(
  response: {
    readonly url: string;
    readonly status: number;
    readonly statusText: string;
    readonly headers: IncomingHttpHeaders;
  },
  notFoundCode: ErrorCode,
): UpstreamError {
  const { status } = response;
  const text = response.statusText === '' ? '' : ` ${response.statusText.slice(0, 100)}`;
  const retryAfterSeconds = parseRetryAfter(response.headers['retry-after']);
  const asked = retryAfterSeconds === undefined ? '' : ` and asks to be left alone for ${retryAfterSeconds} seconds`;
  const message = `${safeUrl(response.url)} answered ${status}${text}${asked}`;
  return new UpstreamError(statusCode(status, notFoundCode), message, {
    transient: isTransientStatus(status),
    upstreamStatus: status,
    retryAfterSeconds,
  });
}

function statusCode(status: number, notFoundCode: ErrorCode): ErrorCode {
  if (status === 404 || status === 410) return notFoundCode;
  if (status === 401 || status === 403) return 'upstream.forbidden';
  return isTransientStatus(status) ? 'upstream.status' : 'upstream.unusable';
}

/** The failure of a server that was too slow; `what` it did or did not, in words. */
export function tooSlow(url: string | URL, what: string): UpstreamError {
  return new UpstreamError('upstream.unreachable', `${safeUrl(url)}: the server ${what}`, {
    transient: true,
    timedOut: true,
  });
}

/**
 * Any error of a request as ours: an ImageBuilderError found among the causes as it is, otherwise
 * `upstream.unreachable`, or `upstream.unusable` where it will not pass by itself. got's own error is not kept, since
 * its options contain the headers.
 */
export function toUpstreamError(error: unknown, url: string | URL, bodySent = false): ImageBuilderError {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof ImageBuilderError) return cause;
  }
  const { what, transient } = describeFailure(error) ?? { what: firstLine(error), transient: isNodeError(error) };
  return new UpstreamError(transient ? 'upstream.unreachable' : 'upstream.unusable', `${safeUrl(url)}: ${what}`, {
    transient,
    timedOut: error instanceof TimeoutError,
    bodySent,
    cause: error instanceof RequestError ? error.cause : error,
  });
}
