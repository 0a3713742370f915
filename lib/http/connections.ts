import type { LookupFunction } from 'node:net';
import got, { type Response as GotResponse } from 'got';
import { safeUrl } from '../errors.ts';
import { noProxies, type Proxies } from '../proxies.ts';
import { defaultTrust, type Trust } from '../trust.ts';
import { type FilePart, sendFile } from './file-part.ts';
import { proxyRefusal } from './proxy-connection.ts';
import { type HttpResponse, toResponse } from './response.ts';
import { createRoutes, type Route } from './routes.ts';
import { tooSlow, toUpstreamError, UpstreamError } from './upstream-error.ts';

/**
 * Requests to other servers, one attempt each, under limits on connection, first byte, stall and drip. Follows no
 * redirect. Nothing is decompressed: the body arrives as the server stores it.
 */
export interface Connections extends Disposable {
  /**
   * Resolves at the head of the answer, whatever its status. Throws UpstreamError where none comes, the signal's
   * reason, what `lookup` throws, or the error of reading `file`.
   */
  send(url: string | URL, request: HttpRequest): Promise<HttpResponse>;
  /** The way that `send` takes to this server. */
  route(url: URL): Promise<Route>;
}

export interface ConnectionsOptions {
  /** For each of DNS, TCP and TLS. */
  readonly connectTimeoutMs: number;
  /** Longest wait for the next byte, first byte included, and for the server to take the next byte of a file. */
  readonly stallTimeoutMs: number;
  readonly userAgent: string;
  /** Default: as the system resolves names (getaddrinfo). */
  readonly lookup?: LookupFunction;
  /** Default: none. */
  readonly proxies?: Proxies;
  /** Default: the CAs of Node, and no certificate of our own. */
  readonly trust?: Trust;
  /** Path of a Unix socket to use instead of the network; empty, the default: none. */
  readonly socketPath?: string;
  /** Whether idle connections are kept for the next request. Default: yes. */
  readonly keepAlive?: boolean;
}

export interface HttpRequest {
  /** Default: GET. */
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly headers?: HttpHeaders;
  readonly body?: string | Buffer;
  /** Part of a file to send as the body, in place of `body`. */
  readonly file?: FilePart;
  readonly signal?: AbortSignal | undefined;
  /** Limit for the whole of the exchange, in place of that for the first byte. */
  readonly totalTimeoutMs?: number;
  /** The answer comes as things happen, such as events: it may drip for ever, but not stall. Default: no. */
  readonly isLive?: boolean;
}

/** Names in lower case. */
export type HttpHeaders = Readonly<Record<string, string | string[]>>;

/** After the last byte of a file a server may still be copying to a store of its own, at this rate (10 MiB/s) or faster. */
const slowestFinishBytesPerMs = (10 * 1024 * 1024) / 1000;

/** Opens no connection before the first request. */
export function createConnections(options: ConnectionsOptions): Connections {
  const { connectTimeoutMs: connect, stallTimeoutMs, userAgent, lookup } = options;
  const { keepAlive = true, socketPath = '', proxies = noProxies, trust = defaultTrust } = options;
  const agentOptions = { keepAlive, maxFreeSockets: 8, ...(socketPath && { socketPath }) };
  const routes = createRoutes({ proxies, trust, connectTimeoutMs: connect, lookup, agentOptions });
  /** Origins that have answered 417. */
  const withoutExpect = new Set<string>();

  async function sendOnce(
    url: URL,
    { method = 'GET', headers, body, file, signal, totalTimeoutMs, isLive = false }: HttpRequest,
    begun: () => void,
  ) {
    signal?.throwIfAborted();
    const { proxy, agent, request } = await routes.to(url);
    signal?.throwIfAborted();
    const isRead = method === 'GET' || method === 'HEAD';
    const expects = !withoutExpect.has(url.origin);
    const fileHeaders = file && { 'content-length': String(file.bytes), ...(expects && { expect: '100-continue' }) };
    const stream = got.stream(url, {
      method,
      headers: { 'user-agent': userAgent, 'accept-encoding': 'identity', ...headers, ...fileHeaders },
      // Without any body, got would wait for one to be written.
      ...(file === undefined && !isRead ? { body: body ?? '' } : {}),
      ...(signal && { signal }),
      agent,
      ...(request && { request }),
      followRedirect: false,
      throwHttpErrors: false,
      decompress: false,
      retry: { limit: 0 },
      timeout: {
        lookup: connect,
        connect,
        secureConnect: connect,
        response: totalTimeoutMs ?? stallTimeoutMs + (file?.bytes ?? 0) / slowestFinishBytesPerMs,
        ...(totalTimeoutMs === undefined ? {} : { request: totalTimeoutMs }),
      },
    });
    let bodySent = false;
    const answered = new Promise<GotResponse>((resolve, reject) => {
      stream.once('response', resolve);
      // Stays for the life of the stream: an error after the head is thrown by the iteration of the body.
      stream.on('error', (error) => reject(toUpstreamError(error, url, bodySent)));
    });
    const sendAll = async (part: FilePart) => {
      const stalled = () =>
        stream.destroy(tooSlow(url, `took no byte for ${Math.round(stallTimeoutMs / 1000)} seconds`));
      bodySent = await sendFile(stream, part, { answered, stallTimeoutMs, stalled, expects, begun });
      if (bodySent) stream.end();
      return answered;
    };
    try {
      // A server that refuses may answer before it has read everything; the rest of the sending is then irrelevant.
      const response = await Promise.race(file === undefined ? [answered] : [answered, sendAll(file)]);
      if (proxy !== null && response.statusCode === 407)
        throw proxyRefusal(proxy, url.host, 407, response.statusMessage);
      return toResponse(stream, response, url, { stallTimeoutMs, isLive, signal });
    } catch (error) {
      // Never ends the body in order where the file is too short: Glance would take it for a whole one.
      stream.destroy();
      signal?.throwIfAborted();
      throw error;
    }
  }

  return {
    async send(target, request) {
      const url = new URL(target);
      let isBegun = false;
      const begun = () => {
        isBegun = true;
      };
      const response = await sendOnce(url, request, begun);
      if (response.status !== 417 || request.file === undefined || withoutExpect.has(url.origin)) return response;
      // Some servers and proxies know no Expect (RFC 9110, 10.1.1).
      withoutExpect.add(url.origin);
      response[Symbol.dispose]();
      if (!isBegun) return await sendOnce(url, request, begun);
      // The digest of the part has seen some bytes already, so the caller has to begin anew.
      throw new UpstreamError('upstream.status', `${safeUrl(url)} answered 417 to a file that it had not asked for`, {
        transient: true,
        upstreamStatus: 417,
      });
    },
    route: routes.to,
    [Symbol.dispose]: () => routes[Symbol.dispose](),
  };
}
