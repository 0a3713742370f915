import { RequestError } from 'got';
import { ImageBuilderError, isNodeError, safeUrl } from '../../errors.ts';
import {
  describeFailure,
  firstLine,
  type HttpFailure,
  isTransientStatus,
  parseRetryAfter,
} from '../../http/failure.ts';
import type { Answer } from './answer.ts';

/** A failure of Keystone, Glance or Swift, with the facts by which a caller decides whether to try again. */
export class OpenStackError extends ImageBuilderError {
  /** True where the same call may succeed in a moment. */
  readonly transient: boolean;
  /** Status of the answer; null when there was none. */
  readonly upstreamStatus: number | null;
  /** True when a body had been sent to its end: the server may have taken it although no answer came. */
  readonly bodySent: boolean;

  constructor(
    message: string,
    details: {
      readonly transient: boolean;
      readonly upstreamStatus?: number;
      readonly bodySent?: boolean;
      readonly retryAfterSeconds?: number | undefined;
      readonly cause?: unknown;
    },
  ) {
    super(details.transient ? 'store.failed' : 'store.refused', message, {
      cause: details.cause,
      ...(details.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: details.retryAfterSeconds }),
    });
    this.transient = details.transient;
    this.upstreamStatus = details.upstreamStatus ?? null;
    this.bodySent = details.bodySent ?? false;
  }
}

/**
 * The error of an answer with an unexpected status. `server` is its name: Keystone, Glance, Swift. 401 may pass: a
 * token may have been revoked, and Glance and Swift answer it as well while they cannot reach Keystone (measured:
 * Glance 2023.1 after 3.5 s).
 */
export function answerError(
  server: string,
  answer: Answer,
  options: { readonly alsoTransient?: readonly number[] } = {},
): OpenStackError {
  const { status, statusText } = answer;
  const reason = reasonOf(answer);
  const message = `${server} at ${safeUrl(answer.url)} answered ${status}${statusText === '' ? '' : ` ${statusText}`}`;
  return new OpenStackError(reason === '' ? message : `${message}: ${reason}`, {
    transient: isTransientStatus(status) || status === 401 || options.alsoTransient?.includes(status) === true,
    upstreamStatus: status,
    retryAfterSeconds: parseRetryAfter(answer.headers['retry-after']),
  });
}

/** The error of a request without an answer. got's own error is not kept, since its options contain the token. */
export function connectionError(
  server: string,
  url: string,
  error: unknown,
  options: { readonly bodySent?: boolean } = {},
): OpenStackError {
  const { what, transient } = describe(error);
  return new OpenStackError(`${server} at ${safeUrl(url)}: ${what}`, {
    transient,
    ...options,
    cause: error instanceof RequestError ? undefined : error,
  });
}

/**
 * Describes a failure as everywhere else, but for certificates, which the configuration may name; an unknown failure
 * may pass.
 */
function describe(error: unknown): HttpFailure {
  const code = isNodeError(error) ? (error.code ?? '') : '';
  if (/CERT|UNABLE_TO_/.test(code)) {
    return { what: `the certificate is not trusted (${code}); name its CA with OS_CACERT or cacert`, transient: false };
  }
  return describeFailure(error) ?? { what: firstLine(error), transient: true };
}

const maximumReasonCharacters = 300;

/** A server's reason: Keystone gives it in JSON, Glance and Swift in HTML or text. */
function reasonOf({ text, headers }: Answer): string {
  const type = headers['content-type'] ?? '';
  const said = type.includes('json') ? messageOf(text) : type.includes('html') ? withoutMarkup(text) : text;
  return said.replace(/\s+/g, ' ').trim().slice(0, maximumReasonCharacters);
}

/** `{"error": {"message": …}}` and the like. */
function messageOf(text: string): string {
  try {
    const document = JSON.parse(text) as { error?: { message?: unknown }; message?: unknown };
    return String(document.error?.message ?? document.message ?? '');
  } catch {
    return '';
  }
}

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', '#x27': "'", '#39': "'" };

/** The HTML without the first `<name>…</name>`. */
function withoutElement(html: string, name: string): string {
  const start = html.indexOf(`<${name}>`);
  const end = html.indexOf(`</${name}>`, start);
  return start < 0 || end < 0 ? html : `${html.slice(0, start)} ${html.slice(end + name.length + 3)}`;
}

function withoutMarkup(html: string): string {
  const body = ['head', 'h1'].reduce(withoutElement, html);
  // Text behind a `<`, up to the next `>`, is a tag.
  const [first = '', ...rest] = body.split('<');
  const text = [first, ...rest.map((part) => part.slice(part.indexOf('>') + 1))].join(' ');
  return text.replace(/&([a-z]+|#x?[0-9a-f]+);/g, (entity, name: string) => entities[name] ?? entity);
}
