import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { z } from 'zod';
import { BuildPage } from '../api/build-list.ts';
import { ImagePage, StoredBuildReport } from '../api/image-list.ts';
import { Problem } from '../api/problem.ts';
import { Accepted, Status } from '../api/status.ts';
import { type ErrorCode, errorTable, ImageBuilderError, isNodeError, safeUrl } from '../errors.ts';
import { createConnections, type HttpRequest } from '../http/connections.ts';
import { type HttpResponse, readText, type TextResponse } from '../http/response.ts';
import { UpstreamError } from '../http/upstream-error.ts';
import { plain, trimEndOf } from '../text.ts';
import { type TraceContext, traceHeadersOf } from '../trace-context.ts';
import { version } from '../version.ts';
import { eventsOf, type LogEvent } from './log-events.ts';

/** The API of Image Builder as a caller sees it. */
export interface Client {
  /** Submits a build. `created` is false where an unfinished build has the same request already. */
  submit(request: unknown): Promise<{ accepted: Accepted; created: boolean }>;
  /** Submits the request of a build that has ended again. `created` as with `submit`. */
  retry(buildId: string): Promise<{ accepted: Accepted; created: boolean }>;
  status(filter?: StatusFilter): Promise<Status>;
  /** One page of builds, the newest submission first. The query is that of the API. */
  list(query: Readonly<Record<string, string | undefined>>): Promise<BuildPage>;
  /** Asks for the build to be cancelled; it ends a little later. */
  cancel(buildId: string): Promise<void>;
  /** One page of what the store has, the newest first. The query is that of the API. */
  images(query: Readonly<Record<string, string | undefined>>): Promise<ImagePage>;
  /** Everything that the store has of one build. */
  image(buildId: string): Promise<StoredBuildReport>;
  /** Deletes that. */
  deleteImage(buildId: string): Promise<void>;
  /** The text of the log of a build; of one that runs, so far. */
  log(buildId: string): AsyncGenerator<Buffer, void>;
  /**
   * The lines of the log as events, after the one with this id, and then those that come. Calls `onAlive` whenever the
   * gateway sends something, which it does several times a minute also where there is no event.
   */
  logEvents(buildId: string, lastId: string | undefined, onAlive?: () => void): AsyncGenerator<LogEvent, void>;
}

export interface StatusFilter {
  readonly buildId?: string;
  readonly ticketId?: string;
}

/** A caller's token, and the file that it came from. */
export interface Token {
  readonly text: string;
  readonly file: string;
}

export interface ClientOptions {
  /** Address of the gateway, such as `http://127.0.0.1:8000`. */
  readonly url: string;
  /** Sent as `Authorization: Bearer`. */
  readonly token?: Token;
  readonly signal?: AbortSignal;
  /** The operation that submissions belong to. */
  readonly trace?: TraceContext | null;
}

const requestTimeoutMs = 30_000;
/** The function waits for the store. */
const storeTimeoutMs = 70_000;
/** Far larger than a status of all builds. */
const maximumAnswerBytes = 64 * 1024 * 1024;

/**
 * Every method throws an ImageBuilderError: a problem that the API answers becomes the error that it was, with its
 * faults; `upstream.unreachable` when there is no answer; `upstream.status` when the answer is not Image Builder's.
 */
export function createClient(options: ClientOptions): Client {
  const { token, signal, trace = null } = options;
  const base = trimEndOf(options.url, '/');

  // A server may close an idle connection in the moment in which it is used again, which looks like one that was cut.
  const limits = { connectTimeoutMs: requestTimeoutMs, stallTimeoutMs: requestTimeoutMs, keepAlive: false };
  const connections = createConnections({ ...limits, userAgent: `imagebuilder/${version}` });

  async function call(
    method: NonNullable<HttpRequest['method']>,
    path: string,
    totalTimeoutMs = requestTimeoutMs,
    json?: unknown,
  ) {
    const headers = {
      ...(json === undefined ? {} : { 'content-type': 'application/json' }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token.text}` }),
      ...(method === 'POST' && trace !== null && traceHeadersOf(trace)),
    };
    const body = json === undefined ? '' : JSON.stringify(json);
    const request = { method, headers, body, signal, totalTimeoutMs };
    try {
      using response = await connections.send(`${base}${path}`, request);
      const answer = await readText(response, maximumAnswerBytes);
      if (answer.status >= 300) throw refusal(base, answer, token);
      return answer;
    } catch (error) {
      throw error instanceof UpstreamError ? unreachable(base, error) : error;
    }
  }

  /** The answer to a call whose body is still to be read; a redirect is followed, elsewhere without the token. */
  async function open(
    path: string,
    { headers, isLive = false }: Pick<HttpRequest, 'headers' | 'isLive'> = {},
  ): Promise<HttpResponse> {
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token.text}` };
    const asked = new URL(`${base}${path}`);
    let response = await connections.send(asked, { headers: { ...headers, ...authorization }, signal, isLive });
    const { location } = response.headers;
    if (response.status === 307 && location !== undefined) {
      response[Symbol.dispose]();
      const next = new URL(location, asked);
      const ours = next.origin === asked.origin ? authorization : {};
      response = await connections.send(next, { headers: { ...headers, ...ours }, signal, isLive });
    }
    if (response.status < 300) return response;
    using refused = response;
    throw refusal(base, await readText(refused, maximumAnswerBytes), token);
  }

  /** The items that `read` makes of the body of an answer. */
  async function* stream<Item>(
    opening: () => Promise<HttpResponse>,
    read: (response: HttpResponse) => AsyncIterable<Item>,
  ): AsyncGenerator<Item, void> {
    try {
      using response = await opening();
      yield* read(response);
    } catch (error) {
      throw error instanceof UpstreamError ? unreachable(base, error) : error;
    }
  }

  const logPath = (buildId: string) => `/api/v1/build_image/${encodeURIComponent(buildId)}/log`;

  return {
    log: (buildId) => stream(() => open(logPath(buildId)), unpacked),
    logEvents(buildId, lastId, onAlive = () => {}) {
      const headers = { accept: 'text/event-stream', ...(lastId === undefined ? {} : { 'last-event-id': lastId }) };
      return stream(
        () => open(`${logPath(buildId)}?follow`, { headers, isLive: true }),
        ({ body }) => eventsOf(tapped(body, onAlive)),
      );
    },
    async submit(request) {
      const response = await call('POST', '/api/v1/build_image/', requestTimeoutMs, request);
      return { accepted: read(Accepted, base, response), created: response.status === 202 };
    },
    async retry(buildId) {
      const response = await call('POST', `/api/v1/build_image/${encodeURIComponent(buildId)}/retry`);
      return { accepted: read(Accepted, base, response), created: response.status === 202 };
    },
    async status({ buildId, ticketId } = {}) {
      const query = new URLSearchParams();
      if (buildId !== undefined) query.set('build_id', buildId);
      if (ticketId !== undefined) query.set('ticket_id', ticketId);
      const search = query.size === 0 ? '' : `?${query}`;
      return read(Status, base, await call('GET', `/api/v1/imagebuilder/status${search}`));
    },
    async list(query) {
      return read(BuildPage, base, await call('GET', `/api/v1/build_image/?${searchOf(query)}`));
    },
    async cancel(buildId) {
      await call('DELETE', `/api/v1/build_image/${encodeURIComponent(buildId)}`);
    },
    async images(query) {
      return read(ImagePage, base, await call('GET', `/api/v1/images/?${searchOf(query)}`, storeTimeoutMs));
    },
    async image(buildId) {
      const path = `/api/v1/images/${encodeURIComponent(buildId)}`;
      return read(StoredBuildReport, base, await call('GET', path, storeTimeoutMs));
    },
    async deleteImage(buildId) {
      await call('DELETE', `/api/v1/images/${encodeURIComponent(buildId)}`, storeTimeoutMs);
    },
  };
}

function searchOf(query: Readonly<Record<string, string | undefined>>): URLSearchParams {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, value);
  return search;
}

/** The body, unpacked where it is a log as it is in a store. */
function unpacked({ headers, body, url }: HttpResponse): AsyncIterable<Buffer> {
  const isPacked = headers['content-type'] === 'application/gzip' || new URL(url).pathname.endsWith('.gz');
  return isPacked ? Readable.from(body).compose(createGunzip()) : body;
}

/** The same chunks; calls `onChunk` before each. */
async function* tapped(chunks: AsyncIterable<Buffer>, onChunk: () => void): AsyncGenerator<Buffer, void> {
  for await (const chunk of chunks) {
    onChunk();
    yield chunk;
  }
}

function read<Schema extends z.ZodType>(schema: Schema, base: string, response: TextResponse): z.output<Schema> {
  const result = schema.safeParse(parseJson(response.text));
  if (result.success) return result.data;
  throw new ImageBuilderError(
    'upstream.status',
    `${safeUrl(base)} does not answer as Image Builder does: is the URL right?`,
    {
      cause: result.error,
    },
  );
}

function refusal(base: string, response: TextResponse, token: Token | undefined): ImageBuilderError {
  if (response.status === 401) return new ImageBuilderError('request.unauthorized', unauthorized(base, token));
  const problem = Problem.safeParse(parseJson(response.text));
  if (!problem.success) {
    const status = `${response.status} ${response.statusText}`.trim();
    return new ImageBuilderError(
      'upstream.status',
      `${safeUrl(base)} answered ${status}: is it a gateway of Image Builder?`,
    );
  }
  const { code, detail, faults } = problem.data;
  return new ImageBuilderError(
    code in errorTable ? (code as ErrorCode) : 'upstream.status',
    detail,
    faults && { faults },
  );
}

function unauthorized(base: string, token: Token | undefined): string {
  return token === undefined
    ? `${safeUrl(base)} asks for a token: name a file that holds yours with --token-file FILE or IMAGEBUILDER_TOKEN_FILE`
    : `${safeUrl(base)} does not know the token in ${plain(token.file)}: name the file with yours with --token-file FILE or IMAGEBUILDER_TOKEN_FILE`;
}

const another = 'name another gateway with --url or IMAGEBUILDER_URL';
const hints: Readonly<Record<string, string>> = {
  ECONNREFUSED: `nothing listens there; is \`imagebuilder serve\` running? Start it, or ${another}`,
  ENOTFOUND: `there is no machine of this name; ${another}`,
  EAI_AGAIN: `the name cannot be looked up at the moment; try again, or ${another}`,
  EPROTO: 'it does not speak TLS as it should; is it http:// rather than https://?',
  ERR_INVALID_URL: 'the URL is not valid',
};

function unreachable(base: string, error: UpstreamError): ImageBuilderError {
  const hint = isNodeError(error.cause) ? hints[error.cause.code ?? ''] : undefined;
  const reason = hint === undefined ? `${error.message}; ${another}` : `${safeUrl(base)}: ${hint}`;
  return new ImageBuilderError('upstream.unreachable', `cannot reach ${reason}`, { cause: error });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
