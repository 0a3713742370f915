import http from 'node:http';
import https from 'node:https';
import got, { type Response as GotResponse, type Request } from 'got';
import { type ErrorCode, ImageBuilderError, safeUrl } from '../errors.ts';
import { type Backoff, backoffMs, retry } from '../retry.ts';
import type { Egress } from './egress.ts';
import { answer, type HttpHead, type HttpResponse, readAll, toResponse } from './response.ts';
import { statusError, UpstreamError } from './upstream-error.ts';

/**
 * The HTTP client for every server that a request, or the operator, names: egress rules at every hop, time limits on
 * connection, first byte, stall and drip, retries where they help, errors that say what happened. Nothing is
 * decompressed: the body arrives as the server stores it. Make one per process, for its connections are kept alive and
 * shared.
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
  /** Repeats `attemptOnce`, with pauses, for as long as another attempt can help. */
  retry<Result>(attemptOnce: () => Promise<Result>, options: RetryOptions): Promise<Result>;
  /**
   * Milliseconds to wait after attempt `attempt` (from 1) failed with `error`; null where another attempt cannot help.
   */
  waitMs(error: unknown, attempt: number): number | null;
}

export interface HttpClientOptions {
  readonly egress: Egress;
  /** For each of DNS, TCP and TLS. */
  readonly connectTimeoutMs: number;
  /** Longest wait for the next byte, first byte included, before an answer is given up. */
  readonly stallTimeoutMs: number;
  readonly userAgent: string;
  readonly retry?: Partial<RetryPolicy>;
}

/**
 * The wait that a Retry-After asks for comes on top; a server that asks for more than the longest wait is not tried
 * again.
 */
export interface RetryPolicy extends Backoff {
  /** Number of attempts, the first one included; three at most where the server is too slow. */
  readonly attempts: number;
}

/** Some 10 seconds of waiting altogether, as long as it takes to restart a server. */
const defaultRetry = { attempts: 5, delayMs: 1000, maximumDelayMs: 60_000 } as const satisfies RetryPolicy;
/** Fewer attempts where the server was too slow: each takes minutes. */
const maximumTimeouts = 3;
const maximumRedirects = 5;

export interface RetryOptions {
  readonly signal?: AbortSignal | undefined;
  /** Overrides the policy of the client. */
  readonly attempts?: number | undefined;
}

export interface SendOptions {
  readonly method?: 'GET' | 'HEAD' | 'POST';
  /** Names in lower case. Headers with credentials go to the first origin only. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal | undefined;
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

export interface TextResponse extends HttpHead {
  readonly text: string;
}

/** Header fields that belong to one origin; matched as whole words, so that X-Auth-Token is one. */
const credentialHeader = /(^|-)(authorization|cookie|token|auth|key|secret|password|signature)(-|$)/;

/** Makes the client of a process. */
export function createHttpClient(options: HttpClientOptions): HttpClient {
  const { egress, connectTimeoutMs, stallTimeoutMs, userAgent } = options;
  const policy: RetryPolicy = { ...defaultRetry, ...options.retry };
  const agentOptions = { keepAlive: true, maxFreeSockets: 8, lookup: egress.lookup };
  const agent = { http: new http.Agent(agentOptions), https: new https.Agent(agentOptions) };

  function request(url: URL, sendOptions: SendOptions, headers: Readonly<Record<string, string>>): Request {
    return got.stream(url, {
      method: sendOptions.method ?? 'GET',
      headers: { 'user-agent': userAgent, 'accept-encoding': 'identity', ...headers },
      ...(sendOptions.body === undefined ? {} : { body: sendOptions.body }),
      ...(sendOptions.signal === undefined ? {} : { signal: sendOptions.signal }),
      agent,
      followRedirect: false,
      throwHttpErrors: false,
      decompress: false,
      retry: { limit: 0 },
      timeout: {
        lookup: connectTimeoutMs,
        connect: connectTimeoutMs,
        secureConnect: connectTimeoutMs,
        response: stallTimeoutMs,
      },
    });
  }

  async function send(start: string | URL, sendOptions: SendOptions = {}): Promise<HttpResponse> {
    const { signal, method = 'GET' } = sendOptions;
    let target = start;
    let headers = sendOptions.headers ?? {};
    let secure = true;
    for (let redirects = 0; ; redirects += 1) {
      const { url, stream, response } = await hop(target, sendOptions, headers).catch((error: unknown) => {
        throw redirects === 0 ? error : afterRedirect(error, start);
      });
      secure &&= url.protocol === 'https:';
      if (!isRedirect(response, method)) {
        return toResponse(stream, response, { url: url.href, secure }, stallTimeoutMs, signal);
      }
      stream.destroy();
      if (redirects === maximumRedirects) {
        const message = `${safeUrl(start)} redirects more than ${maximumRedirects} times`;
        throw unusable(message, response.statusCode);
      }
      const next = redirectTarget(response, url);
      egress.checkRedirect(url, next);
      if (next.origin !== url.origin) headers = withoutCredentials(headers);
      target = next;
    }
  }

  /** Sends one request, and resolves with the head of its answer, which may be a redirect. */
  async function hop(target: string | URL, sendOptions: SendOptions, headers: Readonly<Record<string, string>>) {
    sendOptions.signal?.throwIfAborted();
    const url = egress.checkUrl(target);
    const stream = request(url, sendOptions, headers);
    return { url, stream, response: await answer(stream, url.href, sendOptions.signal) };
  }

  function waitMs(error: unknown, attempt: number, mostAttempts = policy.attempts): number | null {
    if (!(error instanceof UpstreamError) || !error.transient) return null;
    const askedMs = (error.retryAfterSeconds ?? 0) * 1000;
    const attempts = error.timedOut ? Math.min(mostAttempts, maximumTimeouts) : mostAttempts;
    if (attempt >= attempts || askedMs > policy.maximumDelayMs) return null;
    return askedMs + backoffMs(attempt, policy);
  }

  const retrying = <Result>(attemptOnce: () => Promise<Result>, { signal, attempts }: RetryOptions) =>
    retry(attemptOnce, { signal, waitMs: (error, attempt) => waitMs(error, attempt, attempts) });

  async function openOnce(url: string | URL, openOptions: OpenOptions): Promise<HttpResponse> {
    const response = await send(url, openOptions);
    const { status } = response;
    if ((status >= 200 && status < 300) || openOptions.okStatuses?.includes(status) === true) return response;
    response[Symbol.dispose]();
    throw statusError(response, openOptions.notFoundCode ?? 'upstream.status');
  }

  async function getTextOnce(url: string | URL, textOptions: TextOptions): Promise<TextResponse> {
    using response = await openOnce(url, textOptions);
    const { status, statusText, headers, secure } = response;
    const bytes = await readAll(response, textOptions.maximumBytes);
    return { status, statusText, headers, url: response.url, secure, text: bytes.toString('utf8') };
  }

  const getText = (url: string | URL, textOptions: TextOptions) =>
    retrying(() => getTextOnce(url, textOptions), textOptions);

  return {
    egress,
    connectTimeoutMs,
    stallTimeoutMs,
    send,
    retry: retrying,
    waitMs,
    open: (url, openOptions = {}) => retrying(() => openOnce(url, openOptions), openOptions),
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
      using response = await retrying(() => openOnce(url, { ...openOptions, method: 'HEAD' }), openOptions);
      const { status, statusText, headers, secure } = response;
      return { status, statusText, headers, url: response.url, secure };
    },
    async postJson(url, body, postOptions) {
      const headers = { 'content-type': 'application/json', ...postOptions.headers };
      using response = await send(url, { method: 'POST', body, headers, signal: postOptions.signal });
      return { status: response.status };
    },
    [Symbol.dispose]() {
      agent.http.destroy();
      agent.https.destroy();
    },
  };
}

/** Whether the answer is a redirect to follow. For a POST only where RFC 9110 has it repeated as a POST. */
function isRedirect(response: GotResponse, method: string): boolean {
  const followed = method === 'POST' ? [307, 308] : [301, 302, 303, 307, 308];
  return followed.includes(response.statusCode) && response.headers.location !== undefined;
}

function redirectTarget(response: GotResponse, url: URL): URL {
  const target = URL.parse(response.headers.location ?? '', url.href);
  if (target !== null) return target;
  throw unusable(`${safeUrl(url)} redirects to what is not a URL`, response.statusCode);
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

function withoutCredentials(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !credentialHeader.test(name.toLowerCase())));
}
