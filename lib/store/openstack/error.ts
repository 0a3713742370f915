import { isNodeError, safeUrl } from '../../errors.ts';
import { isTransientStatus, parseRetryAfter } from '../../http/failure.ts';
import type { TextResponse } from '../../http/response.ts';
import { UpstreamError, type UpstreamErrorDetails } from '../../http/upstream-error.ts';

/** The answer of an OpenStack server, read whole. */
export type Answer = Omit<TextResponse, 'secure'>;

/** A failure of Keystone, Glance or Swift: `store.failed` where it may pass, otherwise `store.refused`. */
export function storeError(message: string, details: UpstreamErrorDetails): UpstreamError {
  return new UpstreamError(details.transient ? 'store.failed' : 'store.refused', message, details);
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
): UpstreamError {
  const { status, statusText } = answer;
  const reason = reasonOf(answer);
  const message = `${server} at ${safeUrl(answer.url)} answered ${status}${statusText === '' ? '' : ` ${statusText}`}`;
  return storeError(reason === '' ? message : `${message}: ${reason}`, {
    transient: isTransientStatus(status) || status === 401 || options.alsoTransient?.includes(status) === true,
    upstreamStatus: status,
    retryAfterSeconds: parseRetryAfter(answer.headers['retry-after']),
  });
}

/**
 * The error of a request without a whole answer, in terms of the store. A certificate's says what to configure; other
 * errors than those of servers stay as they are.
 */
export function exchangeError(server: string, url: string, error: unknown): unknown {
  if (!(error instanceof UpstreamError)) return error;
  const { transient, bodySent, cause } = error;
  const code = isNodeError(cause) ? (cause.code ?? '') : '';
  const message = /CERT|UNABLE_TO_/.test(code)
    ? `${safeUrl(url)}: the certificate is not trusted (${code}); name its CA with OS_CACERT or cacert`
    : error.message;
  return storeError(`${server} at ${message}`, { transient, bodySent, cause });
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
