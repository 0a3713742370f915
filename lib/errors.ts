/**
 * Every kind of failure of Image Builder, in one table: whose fault it is, its HTTP status, and whether a retry can
 * help. `docs/errors.md` is generated from it.
 */

/**
 * The party that has to act: the caller (`request`), a server we depend on (`upstream`), or the operator (`service`).
 */
export type Fault = 'request' | 'upstream' | 'service';

interface ErrorRow {
  readonly fault: Fault;
  /** HTTP status of the RFC 9457 answer when this error ends a call. */
  readonly status: number;
  /** True where the same request may succeed later without any change to it. */
  readonly retryable: boolean;
  /** One line that names the class of failure; the error's own message describes the case. */
  readonly title: string;
}

const row = (fault: Fault, status: number, retryable: boolean, title: string): ErrorRow => ({
  fault,
  status,
  retryable,
  title,
});

export const errorTable = {
  'request.malformed': row('request', 400, false, 'The request body is not JSON'),
  'request.invalid': row('request', 400, false, 'The request has faults'),
  'request.too_large': row('request', 413, false, 'The request body is too large'),
  'request.timeout': row('request', 408, true, 'The request did not arrive in time'),
  'request.media_type': row('request', 415, false, 'The content type of the request body is not supported'),
  'request.host': row('request', 421, false, 'The service is not known by this name'),
  'request.origin': row('request', 403, false, 'Pages of other sites may not call the service'),
  'request.unauthorized': row('request', 401, false, 'The call carries no valid token'),
  'request.forbidden': row('request', 403, false, 'The token does not allow the call'),
  'request.method': row('request', 405, false, 'The method is not allowed here'),
  'request.not_found': row('request', 404, false, 'The resource does not exist'),
  'request.range': row('request', 416, false, 'The log has no such part'),
  'request.conflict': row('request', 409, false, 'Another request with this ticket is being built'),
  'caller.limit': row('request', 429, true, 'The caller has reached one of its limits'),
  'build.not_found': row('request', 404, false, 'The build is not known'),
  'build.unfinished': row('request', 409, true, 'The build has not ended yet'),
  'build.unrepeatable': row('request', 409, false, 'The request of the build is not known whole any more'),
  'build.finished': row('request', 409, false, 'The build has already ended'),
  'build.cancelled': row('request', 409, false, 'The build was cancelled'),
  'build.timeout': row('service', 504, true, 'The build took longer than its time limit'),
  'build.attempts_exhausted': row('service', 500, false, 'The build failed on every attempt'),
  'build.lost': row('service', 500, true, 'RabbitMQ has lost the job of the build'),
  'image.not_found': row('request', 404, false, 'The base image was not found'),
  'image.checksum': row('upstream', 502, true, 'The base image does not match its checksum'),
  'image.unverified': row('request', 422, false, 'The base image is not verified as the operator demands'),
  'image.truncated': row('upstream', 502, true, 'The base image is shorter than its own header says'),
  'image.unsupported': row('request', 422, false, 'The base image has a format that cannot be changed'),
  'image.unsafe': row('request', 422, false, 'The base image is refused as unsafe'),
  'image.corrupt': row('request', 422, false, 'The base image is damaged'),
  'image.too_large': row('request', 422, false, 'The base image exceeds a size limit'),
  'image.series': row('request', 422, false, 'The base image has another series than the request'),
  'image.unbootable': row('request', 422, false, 'The finished image would not boot'),
  'image.full': row('request', 422, false, 'The file system of the image has no room left'),
  'image.output': row('service', 500, true, 'The finished image failed its own check'),
  'ppa.not_found': row('request', 404, false, 'The PPA does not exist'),
  'ppa.series': row('request', 422, false, 'The PPA publishes nothing for this series'),
  'ppa.key': row('upstream', 502, true, 'The signing key of the PPA cannot be fetched or does not match'),
  'apt.signature': row('request', 422, false, 'A repository has no valid signature'),
  'apt.repository': row('request', 422, false, 'A repository cannot be used'),
  'apt.package': row('request', 422, false, 'Packages cannot be found, or their dependencies cannot be met'),
  'apt.install': row('request', 422, false, 'A package failed to install'),
  'upstream.unreachable': row('upstream', 502, true, 'A server could not be reached'),
  'upstream.status': row('upstream', 502, true, 'A server answered with an error'),
  'upstream.unusable': row('upstream', 502, false, 'A server sends an unusable answer'),
  'upstream.forbidden': row('request', 422, false, 'A server refused access'),
  'proxy.refused': row('service', 502, false, 'The proxy of this network refuses the request'),
  'egress.refused': row('request', 422, false, 'An address is refused by the egress rules'),
  'broker.unreachable': row('service', 503, true, 'RabbitMQ cannot be reached'),
  'store.failed': row('service', 502, true, 'The data store failed'),
  'store.refused': row('service', 502, false, 'The data store refuses the request'),
  'guest.unavailable': row('service', 500, false, 'This machine cannot open images'),
  'guest.failed': row('service', 500, true, 'Work inside the image failed'),
  'guest.limit': row('request', 422, false, 'A script inside the image exceeded a limit'),
  'disk.full': row('service', 507, true, 'The worker has no disk space left'),
  'disk.small': row('service', 507, false, 'The disk of the worker is too small for the build'),
  'tool.failed': row('service', 500, true, 'A tool failed'),
  'function.timeout': row('service', 504, true, 'The function did not answer in time'),
  'function.failed': row('service', 500, true, 'The function died during the call'),
  'function.unavailable': row('service', 503, true, 'The function is not running at the moment'),
  'config.invalid': row('service', 500, false, 'The configuration has faults'),
  'worker.busy': row('service', 429, true, 'The function is busy'),
  'worker.stopping': row('service', 503, true, 'The worker is stopping'),
  internal: row('service', 500, true, 'An unexpected error'),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;

/** A fault of the request, with its place: `path` is a JSONPath such as `$.ppa_list[0]`. */
export interface RequestFault {
  readonly path: string;
  readonly message: string;
}

export interface ErrorOptionsOf {
  readonly cause?: unknown;
  readonly faults?: readonly RequestFault[];
  /** Seconds after which a retry makes sense; becomes Retry-After. */
  readonly retryAfterSeconds?: number;
  /** Last lines of the log of the failed work, oldest first. */
  readonly logTail?: readonly string[];
}

/**
 * The one error that crosses module borders. The message is for people and never holds a secret: strip credentials
 * from URLs with `safeUrl` before putting them in.
 */
export class ImageBuilderError extends Error {
  override readonly name = 'ImageBuilderError';
  readonly code: ErrorCode;
  readonly faults: readonly RequestFault[];
  readonly retryAfterSeconds: number | undefined;
  readonly logTail: readonly string[];

  constructor(code: ErrorCode, message: string, options: ErrorOptionsOf = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.faults = options.faults ?? [];
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.logTail = options.logTail ?? [];
  }

  get fault(): Fault {
    return errorTable[this.code].fault;
  }

  get status(): number {
    return errorTable[this.code].status;
  }

  get retryable(): boolean {
    return errorTable[this.code].retryable;
  }
}

/** Any thrown value as an ImageBuilderError; an unforeseen one becomes `internal` with its cause kept. */
export function toImageBuilderError(thrown: unknown): ImageBuilderError {
  if (thrown instanceof ImageBuilderError) return thrown;
  if (isNoSpace(thrown)) {
    const path = isNodeError(thrown) ? thrown.path : undefined;
    const where = path === undefined ? 'on the device that the worker works on' : `for ${path}`;
    return new ImageBuilderError('disk.full', `no space is left ${where}`, { cause: thrown });
  }
  return new ImageBuilderError('internal', messageOf(thrown), { cause: thrown });
}

/** The message of any thrown value. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** True where an error, or one of its causes, says that a disk or a quota of the worker is full. */
export function isNoSpace(thrown: unknown): boolean {
  if (thrown instanceof ImageBuilderError && thrown.code === 'disk.full') return true;
  if (isNodeError(thrown) && (thrown.code === 'ENOSPC' || thrown.code === 'EDQUOT')) return true;
  return thrown instanceof Error && thrown.cause !== undefined && isNoSpace(thrown.cause);
}

/** True where a program's output says the same, in the words that the C library has for ENOSPC and EDQUOT. */
export function saysNoSpace(output: string): boolean {
  return output.includes('No space left on device') || output.includes('Disk quota exceeded');
}

/** True for errors of Node's own APIs, which carry a string `code` such as ENOENT. */
export function isNodeError(thrown: unknown): thrown is NodeJS.ErrnoException {
  return thrown instanceof Error && typeof (thrown as NodeJS.ErrnoException).code === 'string';
}

/**
 * A URL as it may be shown: without user, password, query and fragment. Returns the word `URL` for text that is no URL.
 */
export function safeUrl(url: string | URL): string {
  try {
    const parsed = new URL(url);
    const query = parsed.search === '' ? '' : '?…';
    parsed.username = '';
    parsed.password = '';
    parsed.search = '';
    parsed.hash = '';
    return parsed.href + query;
  } catch {
    return 'URL';
  }
}
