import { type ErrorCode, type Fault, type ImageBuilderError, safeUrl, toImageBuilderError } from '../errors.ts';
import { UpstreamError } from '../http/upstream-error.ts';

/** A request of apt's that the proxy could not answer. */
export interface AptProxyFailure {
  /** Without credentials. A tunnel's is `https://host:port/`. */
  readonly url: string;
  /** HTTP status of the answer to apt. */
  readonly status: number;
  readonly code: ErrorCode;
  /** `request` for 404 and 410: the server is well, and there is no such file. */
  readonly fault: Fault;
  readonly message: string;
}

/** Describes the error that a request for a URL ended with, with the status to answer apt. */
export function describeFailure(url: string, thrown: unknown): AptProxyFailure {
  const error = toImageBuilderError(thrown);
  const status = statusOf(error);
  const fault = status === 404 || status === 410 ? 'request' : error.fault;
  return { url: safeUrl(url), status, code: error.code, fault, message: error.message };
}

function statusOf(error: ImageBuilderError): number {
  if (error.code === 'egress.refused') return 403;
  if (error.code === 'request.invalid') return 400;
  if (error.code === 'disk.full') return 507;
  // A 407 of the network's proxy would look to apt as if this one had refused it.
  if (error.code === 'proxy.refused') return 502;
  if (!(error instanceof UpstreamError)) return 502;
  if (error.timedOut) return 504;
  return error.upstreamStatus !== null && error.upstreamStatus >= 400 ? error.upstreamStatus : 502;
}
