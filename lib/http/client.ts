import type { Socket } from 'node:net';
import { type ErrorCode, ImageBuilderError, safeUrl } from '../errors.ts';
import { type ConnectionsOptions, createConnections, type HttpHeaders, type HttpRequest } from './connections.ts';
import type { Egress } from './egress.ts';
import { type HttpHead, type HttpResponse, readText, type TextResponse } from './response.ts';
import { type RetryPolicy, retrying, waitMs } from './retrying.ts';
import { statusError, UpstreamError } from './upstream-error.ts';

/**
 * The HTTP client for every server that a request, or the operator, names: egress rules at every hop, the limits of
 * `Connections`, retries where they help. Make one per process, for its connections are kept alive and shared.
 */
export interface HttpClient extends Disposable {
  readonly egress: Egress;
  readonly connectTimeoutMs: number;
  readonly stallTimeoutMs: number;
  /** One attempt. Resolves at the head of the answer, whatever its status, with redirects followed. */
  send(url: string | URL, options?: SendOptions): Promise<HttpResponse>;
  /** `send` with retries, for a status of 200 to 299; any other status is an error. */
  open(url: string | URL, options?: OpenOptions): Promise<HttpResponse>;
  /** The body as text, at most `maximumBytes`. */
  getText(url: string | URL, options: TextOptions): Promise<TextResponse>;
  /** The body parsed as JSON, to be checked by a schema. Throws `upstream.unusable` for a body that is not JSON. */
  getJson(url: string | URL, options: TextOptions): Promise<unknown>;
  /** The head of the answer to HEAD. */
  head(url: string | URL, options?: OpenOptions): Promise<HttpHead>;
  /** POSTs JSON once and resolves with the status, whatever it is. Only 307 and 308 are followed. */
  postJson(url: string | URL, body: string, options: PostOptions): Promise<{ readonly status: number }>;
  /**
   * A tunnel to the server of a https URL, which the egress rules allow, through the proxy for it; null where the server is
   * reached without one.
   */
  tunnel(url: URL, options: { readonly signal: AbortSignal }): Promise<Socket | null>;
  /** Repeats `attemptOnce`, with pauses, for as long as another attempt can help. */
  retry<Result>(attemptOnce: () => Promise<Result>, options: RetryOptions): Promise<Result>;
  /**
   * Milliseconds to wait after attempt `attempt` (from 1) failed with `error`; null where another attempt cannot help.
   */
  waitMs(error: unknown, attempt: number): number | null;
}

export interface HttpClientOptions extends Omit<ConnectionsOptions, 'lookup'> {
  readonly egress: Egress;
  readonly retry?: Partial<RetryPolicy>;
}

/** Some 10 seconds of waiting altogether, as long as it takes to restart a server. */
const defaultRetry = { attempts: 5, delayMs: 1000, maximumDelayMs: 60_000 } as const satisfies RetryPolicy;
const maximumRedirects = 5;

export interface RetryOptions {
  readonly signal?: AbortSignal | undefined;
  /** Overrides the policy of the client. */
  readonly attempts?: number | undefined;
}

/** Headers with credentials go to the first origin only. */
export interface SendOptions extends Omit<HttpRequest, 'file' | 'method'> {
  readonly method?: 'GET' | 'HEAD' | 'POST';
}

export interface OpenOptions extends SendOptions, RetryOptions {
  /** Error code for 404 and 410. Default `upstream.status`. */
  readonly notFoundCode?: ErrorCode;
  /** Statuses beyond 200 to 299 that are results rather than errors. */
  readonly okStatuses?: readonly number[];
}

export interface TextOptions extends OpenOptions {
  readonly maximumBytes: number;
}

export interface PostOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** Header fields that belong to one origin; matched as whole words, so that X-Auth-Token is one. */
const credentialHeader = /(^|-)(authorization|cookie|token|auth|key|secret|password|signature)(-|$)/;

/** Makes the client of a process. */
export function createHttpClient(options: HttpClientOptions): HttpClient {
  const { egress, connectTimeoutMs, stallTimeoutMs } = options;
  const policy: RetryPolicy = { ...defaultRetry, ...options.retry };
  const connections = createConnections({ ...options, lookup: egress.lookup });

  async function send(start: string | URL, sendOptions: SendOptions = {}): Promise<HttpResponse> {
    let target = start;
    let headers = sendOptions.headers ?? {};
    let secure = true;
    for (let redirects = 0; ; redirects += 1) {
      const { url, response } = await hop(target, { ...sendOptions, headers }).catch((error: unknown) => {
        throw redirects === 0 ? error : afterRedirect(error, start);
      });
      secure &&= response.secure;
      if (!isRedirect(response, sendOptions.method)) return { ...response, secure };
      response[Symbol.dispose]();
      if (redirects === maximumRedirects) {
        throw unusable(`${safeUrl(start)} redirects more than ${maximumRedirects} times`, response.status);
      }
      const next = redirectTarget(response, url);
      egress.checkRedirect(url, next);
      if (next.origin !== url.origin) headers = withoutCredentials(headers);
      target = next;
    }
  }

  /** Sends one request, and resolves with its answer, which may be a redirect. */
  async function hop(target: string | URL, sendOptions: SendOptions) {
    sendOptions.signal?.throwIfAborted();
    const url = egress.checkUrl(target);
    return { url, response: await connections.send(url, sendOptions) };
  }

  const persist = <Result>(attemptOnce: () => Promise<Result>, { signal, attempts }: RetryOptions) =>
    retrying(attemptOnce, { signal, policy: attempts === undefined ? policy : { ...policy, attempts } });

  async function openOnce(url: string | URL, openOptions: OpenOptions): Promise<HttpResponse> {
    const response = await send(url, openOptions);
    const { status } = response;
    if ((status >= 200 && status < 300) || openOptions.okStatuses?.includes(status) === true) return response;
    response[Symbol.dispose]();
    throw statusError(response, openOptions.notFoundCode ?? 'upstream.status');
  }

  async function getTextOnce(url: string | URL, textOptions: TextOptions): Promise<TextResponse> {
    using response = await openOnce(url, textOptions);
    return await readText(response, textOptions.maximumBytes);
  }

  const getText = (url: string | URL, textOptions: TextOptions) =>
    persist(() => getTextOnce(url, textOptions), textOptions);

  return {
    egress,
    connectTimeoutMs,
    stallTimeoutMs,
    send,
    retry: persist,
    tunnel: async (url, { signal }) => (await connections.route(url)).tunnel?.(signal) ?? null,
    waitMs: (error, attempt) => waitMs(error, attempt, policy),
    open: (url, openOptions = {}) => persist(() => openOnce(url, openOptions), openOptions),
    getText,
    async getJson(url, textOptions) {
      const { text, status } = await getText(url, textOptions);
      try {
        return JSON.parse(text) as unknown;
      } catch (cause) {
        throw unusable(`${safeUrl(url)} answered ${status} with what is not JSON`, status, cause);
      }
    },
    async head(url, openOptions = {}) {
      using response = await persist(() => openOnce(url, { ...openOptions, method: 'HEAD' }), openOptions);
      const { status, statusText, headers, secure } = response;
      return { status, statusText, headers, url: response.url, secure };
    },
    async postJson(url, body, postOptions) {
      const headers = { 'content-type': 'application/json', ...postOptions.headers };
      using response = await send(url, { method: 'POST', body, headers, signal: postOptions.signal });
      return { status: response.status };
    },
    [Symbol.dispose]: () => connections[Symbol.dispose](),
  };
}

/** Whether the answer is a redirect to follow. For a POST only where RFC 9110 has it repeated as a POST. */
function isRedirect(response: HttpHead, method: string | undefined): boolean {
  const followed = method === 'POST' ? [307, 308] : [301, 302, 303, 307, 308];
  return followed.includes(response.status) && response.headers.location !== undefined;
}

function redirectTarget(response: HttpHead, url: URL): URL {
  const target = URL.parse(response.headers.location ?? '', url.href);
  if (target !== null) return target;
  throw unusable(`${safeUrl(url)} redirects to what is not a URL`, response.status);
}

/**
 * Adds the URL that was asked for to a refusal: the server, not the reader of the error, has written the refused
 * address.
 */
function afterRedirect(error: unknown, start: string | URL): unknown {
  if (!(error instanceof ImageBuilderError) || error.code !== 'egress.refused') return error;
  return new ImageBuilderError(error.code, `${safeUrl(start)} redirects elsewhere, and ${error.message}`, {
    cause: error,
  });
}

function unusable(message: string, upstreamStatus: number, cause?: unknown): UpstreamError {
  return new UpstreamError('upstream.unusable', message, { transient: false, upstreamStatus, cause });
}

function withoutCredentials(headers: HttpHeaders): HttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !credentialHeader.test(name.toLowerCase())));
}
