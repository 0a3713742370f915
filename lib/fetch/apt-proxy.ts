import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { ImageBuilderError } from '../errors.ts';
import type { HttpClient } from '../http/client.ts';
import { tooSlow, UpstreamError } from '../http/upstream-error.ts';
import { answerApt } from './apt-answer.ts';
import type { AptCache } from './apt-cache.ts';
import { type AptProxyFailure, describeFailure } from './apt-failure.ts';
import { createSilenceMemory } from './silence.ts';
import { openTunnel } from './tunnel.ts';

/**
 * The HTTP proxy through which apt inside an image reaches its repositories: one for each build, on a loopback port,
 * with a password of its own. Every request is under the egress rules, plain http is cached, https is tunnelled
 * (CONNECT) and so cannot be. A failure goes to apt in the status line, which apt prints, and is kept in `failures`.
 */
export interface AptProxy extends AsyncDisposable {
  /** For `Acquire::http::Proxy` and `Acquire::https::Proxy`; holds the password. */
  readonly url: string;
  readonly password: string;
  /** Serves connections of another socket, too, and asks them for no password. The socket remains the caller's. */
  serve(listener: Server): void;
  /** URLs whose last request failed, the oldest first. */
  readonly failures: readonly AptProxyFailure[];
  readonly statistics: AptProxyStatistics;
  /** URLs that were asked for, the first 20,000; `https://host:port/` for tunnels. */
  readonly asked: ReadonlySet<string>;
}

export interface AptProxyStatistics {
  /** Requests answered from the cache, and by a server. */
  readonly hits: number;
  readonly misses: number;
}

export interface AptProxyOptions {
  readonly client: HttpClient;
  /** Shared by all proxies of the process. */
  readonly cache: AptCache;
  /** Aborted at the end of the build; ends the requests under way. */
  readonly signal: AbortSignal;
}

/** Programs inside an image can ask for anything, any number of times. */
const maximumFailures = 1000;
const maximumAsked = 20_000;
/**
 * Open connections at a time. apt has one for each host; programs inside an image could open as many as they have
 * descriptors, which would take the worker's memory.
 */
const maximumConnections = 256;
/** apt keeps its connections between the phases of one run. */
const keepAliveMs = 120_000;

/** Starts the proxy on a free port of 127.0.0.1. Disposing it breaks off requests under way. */
export async function startAptProxy(options: AptProxyOptions): Promise<AptProxy> {
  const { client, cache } = options;
  const password = randomBytes(18).toString('base64url');
  const credentials = digest(`Basic ${Buffer.from(`imagebuilder:${password}`).toString('base64')}`);
  const closing = new AbortController();
  const signal = AbortSignal.any([options.signal, closing.signal]);
  const failures = new Map<string, AptProxyFailure>();
  const statistics = { hits: 0, misses: 0 };
  const asked = new Set<string>();
  const ask = (url: string) => {
    if (asked.size < maximumAsked) asked.add(url);
  };
  const underWay = new Set<Promise<void>>();
  const silence = createSilenceMemory(client.stallTimeoutMs);

  const trusted = new WeakSet<Socket>();

  function isAuthorized(request: IncomingMessage): boolean {
    return (
      trusted.has(request.socket) || timingSafeEqual(digest(request.headers['proxy-authorization'] ?? ''), credentials)
    );
  }

  /** Notes the failure of a URL, and returns the status and message to answer apt with. */
  function failed(url: string, thrown: unknown): AptProxyFailure {
    const failure = describeFailure(url, thrown);
    failures.delete(url);
    failures.set(url, failure);
    const [oldest] = failures.keys();
    if (failures.size > maximumFailures && oldest !== undefined) failures.delete(oldest);
    return failure;
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const text = request.url ?? '';
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const startedMs = performance.now();
    try {
      const url = client.egress.checkUrl(text);
      url.username = '';
      url.password = '';
      ask(url.href);
      const onAnswer = () => void failures.delete(text);
      await answerApt(
        { request, response, url, signal: AbortSignal.any([signal, gone.signal]) },
        { client, cache, silence, statistics, onAnswer },
      );
    } catch (error) {
      // A failure in the middle of a server's answer closes the connection to apt as well.
      if (signal.aborted || (gone.signal.aborted && !(error instanceof UpstreamError))) {
        // apt drops its other connections when one fails; only a long wait is the server's fault.
        const waited = !response.headersSent && performance.now() - startedMs > client.connectTimeoutMs;
        if (waited && !signal.aborted) failed(text, tooSlow(text, 'had not answered when apt gave up'));
        response.destroy();
        return;
      }
      const failure = failed(text, error);
      if (response.headersSent) response.destroy();
      else refuse(response, failure.status, failure.message);
    }
  }

  async function connect(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    // The authority form `host:port` is checked as the URL that it stands for.
    const text = `https://${request.url ?? ''}/`;
    ask(text);
    socket.on('error', () => socket.destroy());
    try {
      await openTunnel({ url: client.egress.checkTunnel(text), socket, head, client, signal });
      failures.delete(text);
    } catch (error) {
      const { status, message } = failed(text, error);
      if (!signal.aborted) socket.end(`HTTP/1.1 ${status} ${reason(message)}\r\nconnection: close\r\n\r\n`);
      else socket.destroy();
    }
  }

  function track(work: Promise<void>): void {
    underWay.add(work);
    void work.finally(() => underWay.delete(work));
  }

  const server = http.createServer({ keepAliveTimeout: keepAliveMs, requestTimeout: 0 }, (request, response) => {
    if (!isAuthorized(request)) {
      failed(request.url ?? '', unauthorized());
      response.setHeader('proxy-authenticate', 'Basic realm="imagebuilder"');
      refuse(response, 407, 'the password of this proxy is missing or wrong');
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      refuse(response, 405, 'only GET, HEAD and CONNECT are served');
    } else {
      track(serve(request, response));
    }
  });
  server.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (isAuthorized(request)) return track(connect(request, socket, head));
    failed(`https://${request.url ?? ''}/`, unauthorized());
    socket.end('HTTP/1.1 407 Proxy Authentication Required\r\nconnection: close\r\n\r\n');
  });
  server.maxConnections = maximumConnections;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  return {
    url: `http://imagebuilder:${password}@127.0.0.1:${port}`,
    password,
    serve(listener) {
      listener.maxConnections = maximumConnections;
      listener.on('connection', (socket) => {
        trusted.add(socket);
        server.emit('connection', socket);
      });
    },
    get failures() {
      return [...failures.values()];
    },
    ...{ statistics, asked },
    async [Symbol.asyncDispose]() {
      closing.abort();
      server.close();
      server.closeAllConnections();
      await Promise.all(underWay);
      await cache.evict();
    },
  };
}

/** Apt asked without the password of this proxy: a fault of the worker's, not of the request or the repository. */
const unauthorized = () =>
  new ImageBuilderError(
    'guest.failed',
    'the worker’s own proxy refuses apt, because the password for it did not arrive',
  );

const digest = (text: string) => createHash('sha256').update(text).digest();

function refuse(response: ServerResponse, status: number, message: string): void {
  const body = `${message}\n`;
  response.writeHead(status, reason(message), {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}

/** A message as the reason phrase of a status line: printable ASCII, on one line. */
function reason(message: string): string {
  return message.replace(/[^\x20-\x7e]+/g, ' ').slice(0, 300);
}
