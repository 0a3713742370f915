import { mkdtemp, rm } from 'node:fs/promises';
import http, { type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { createHttpClient, type HttpClient, type HttpClientOptions } from '#lib/http/client.ts';
import { createEgress, type EgressOptions } from '#lib/http/egress.ts';
import type { IdRange } from '#lib/privileges.ts';
import { listen } from '../../../lab/servers/listen.ts';
import { makeCertificate } from './certificate.ts';

/** The user ids that an operator who sets none has. */
export const testIds: IdRange = { first: 1_879_048_192, last: 1_895_825_407 };

/** A real HTTP server on a free loopback port. */
export interface TestServer extends AsyncDisposable {
  /** Without a slash at its end. */
  readonly url: string;
  /** `METHOD /path` of every request so far. */
  readonly requests: readonly string[];
  /** Headers of every request so far. */
  readonly headers: readonly http.IncomingHttpHeaders[];
  /** Connections accepted so far. */
  readonly connections: number;
}

export async function startServer(
  listener: RequestListener,
  { tls = false }: { readonly tls?: boolean } = {},
): Promise<TestServer> {
  const requests: string[] = [];
  const headers: http.IncomingHttpHeaders[] = [];
  let connections = 0;
  const onRequest: RequestListener = (request, response) => {
    requests.push(`${request.method} ${request.url}`);
    headers.push(request.headers);
    listener(request, response);
  };
  const server = tls ? https.createServer(trustedCertificate(), onRequest) : http.createServer(onRequest);
  server.on('connection', () => {
    connections += 1;
  });
  const listening = await listen(server);
  return {
    ...listening,
    url: tls ? listening.url.replace('http:', 'https:') : listening.url,
    requests,
    headers,
    get connections() {
      return connections;
    },
  };
}

let certificate: ReturnType<typeof makeCertificate> | undefined;

/** One certificate for all servers, for they have one name; this process trusts it from now on. */
function trustedCertificate() {
  if (certificate !== undefined) return certificate;
  certificate = makeCertificate();
  setDefaultCACertificates([...getCACertificates('default'), certificate.cert]);
  return certificate;
}

export interface ServedFile {
  readonly content: Buffer;
  readonly etag?: string;
  readonly lastModified?: string;
  readonly contentType?: string;
}

/** Answers as a static file server does: validators, single ranges, If-Range, conditional requests. */
export function serveFile(request: IncomingMessage, response: ServerResponse, file: ServedFile): void {
  const { content, etag, lastModified, contentType } = file;
  if (etag !== undefined) response.setHeader('etag', etag);
  if (lastModified !== undefined) response.setHeader('last-modified', lastModified);
  if (contentType !== undefined) response.setHeader('content-type', contentType);
  const { range, 'if-range': ifRange, 'if-none-match': ifNoneMatch } = request.headers;
  const unchanged = ifNoneMatch !== undefined ? ifNoneMatch === etag : isUnchangedSince(request, lastModified);
  if (unchanged) {
    response.writeHead(304).end();
    return;
  }
  const match = /^bytes=([0-9]+)-([0-9]*)$/.exec(range ?? '');
  if (match === null || (ifRange !== undefined && ifRange !== etag && ifRange !== lastModified)) {
    response.writeHead(200, { 'content-length': content.length }).end(content);
    return;
  }
  const start = Number(match[1]);
  const end = Math.min(match[2] === '' ? content.length : Number(match[2]) + 1, content.length);
  if (start >= content.length) {
    response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end();
    return;
  }
  response.writeHead(206, {
    'content-range': `bytes ${start}-${end - 1}/${content.length}`,
    'content-length': end - start,
  });
  response.end(content.subarray(start, end));
}

/**
 * Answers that are cut on purpose: each announces all of its file, sends the first bytes, and is cut once `arrived`
 * says that the receiver has them, because bytes under way may be lost when a connection breaks.
 */
export function createCutter() {
  let open: { readonly bytes: number; readonly response: ServerResponse } | null = null;
  return {
    send(bytes: number, response: ServerResponse, { content, etag, lastModified }: ServedFile): void {
      response.writeHead(200, {
        'content-length': content.length,
        ...(etag === undefined ? {} : { etag }),
        ...(lastModified === undefined ? {} : { 'last-modified': lastModified }),
      });
      response.write(content.subarray(0, bytes));
      open = { bytes, response };
    },
    arrived(bytes: number): void {
      if (open === null || bytes < open.bytes) return;
      open.response.destroy();
      open = null;
    },
  };
}

function isUnchangedSince(request: IncomingMessage, lastModified: string | undefined): boolean {
  return lastModified !== undefined && request.headers['if-modified-since'] === lastModified;
}

/** Serves the files by path; 404 for any other. */
export function startFileServer(
  files: Record<string, ServedFile>,
  options: { readonly tls?: boolean } = {},
): Promise<TestServer> {
  return startServer((request, response) => {
    const file = files[request.url ?? ''];
    if (file === undefined) response.writeHead(404).end();
    else serveFile(request, response, file);
  }, options);
}

/** A client that may reach loopback and waits milliseconds where the real one waits seconds. */
export function testClient(
  options: Partial<HttpClientOptions> & { readonly egressOptions?: Partial<EgressOptions> } = {},
): HttpClient {
  return createHttpClient({
    egress: createEgress({ allowLoopback: true, allowedHosts: [], ...options.egressOptions }),
    connectTimeoutMs: 2000,
    stallTimeoutMs: 5000,
    userAgent: 'imagebuilder-test',
    ...options,
    retry: { delayMs: 2, ...options.retry },
  });
}

/** A folder that is removed at the end of its scope. */
export async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'imagebuilder-fetch-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** The error that the promise rejects with; fails the test when it does not reject. */
export async function rejection(promise: Promise<unknown>): Promise<Error & { readonly code?: string }> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
  throw new Error('the promise was expected to reject');
}
