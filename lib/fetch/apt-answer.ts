import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { HttpClient } from '../http/client.ts';
import type { AptCache } from './apt-cache.ts';
import type { AptObject } from './flight.ts';
import type { SilenceMemory } from './silence.ts';

/** A request of apt's to the proxy, for a URL that the egress rules allow. */
export interface AptRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly signal: AbortSignal;
}

export interface AptAnswerParts {
  readonly client: HttpClient;
  readonly cache: AptCache;
  readonly silence: SilenceMemory;
  readonly statistics: { hits: number; misses: number };
  /** Called when there is something to answer with. */
  readonly onAnswer: () => void;
}

/**
 * Header fields of apt's that go on to the server, and of the server's that go back. Ranges do not: apt would wait for
 * all bytes that a Content-Range promises, however few the server sends.
 */
const forwarded = ['accept', 'authorization', 'cache-control', 'if-modified-since', 'if-none-match'];
const returned = ['cache-control', 'content-length', 'content-type', 'date', 'etag', 'expires', 'last-modified'];

/** Answers apt from the cache or a server. Throws what is in the way; part of the answer may have gone to apt by then. */
export async function answerApt(request: AptRequest, parts: AptAnswerParts): Promise<void> {
  if (isCacheable(request.request, request.url)) await sendObject(request, parts);
  else await relay(request, parts);
}

async function sendObject(
  { request, response, url, signal }: AptRequest,
  { cache, silence, statistics, onAnswer }: AptAnswerParts,
): Promise<void> {
  const anew = request.headers['cache-control']?.includes('no-cache') === true;
  await using object = await cache.open(url.href, { signal, anew, silence });
  onAnswer();
  const start = rangeStart(request, object);
  const size = object.sizeBytes;
  if (size !== null && start > 0 && start >= size) {
    response.writeHead(416, { 'content-range': `bytes */${size}`, 'content-length': 0 }).end();
    return;
  }
  response.writeHead(start === 0 ? 200 : 206, {
    'accept-ranges': 'bytes',
    ...(object.etag === null ? {} : { etag: object.etag }),
    ...(object.lastModified === null ? {} : { 'last-modified': object.lastModified }),
    ...(size === null ? {} : { 'content-length': size - start }),
    ...(start === 0 ? {} : { 'content-range': `bytes ${start}-${(size ?? 0) - 1}/${size}` }),
  });
  statistics[object.source === 'cache' ? 'hits' : 'misses'] += 1;
  const body = object.read(start, size ?? Number.POSITIVE_INFINITY);
  await pipeline(body, response, { signal }).catch((error: unknown) => {
    silence.note(url, error);
    throw error;
  });
}

/**
 * Passes on the requests that are not cached: HEAD, conditional ones of apt's own, and those with a user's
 * credentials.
 */
async function relay(
  { request, response, url, signal }: AptRequest,
  { client, silence, statistics, onAnswer }: AptAnswerParts,
): Promise<void> {
  const options = {
    method: request.method === 'HEAD' ? 'HEAD' : 'GET',
    headers: pick(request.headers, forwarded),
    signal,
    okStatuses: [304],
  } as const;
  using answer = await silence.watch(url, () => client.open(url, options));
  onAnswer();
  statistics.misses += 1;
  response.writeHead(answer.status, pick(answer.headers, returned));
  await pipeline(answer.body, response, { signal });
}

/**
 * Private repositories are not cached: another build may lack the right to read them. Of conditional requests only
 * those for the rest of a file that apt has in part are answered from the cache.
 */
function isCacheable({ method, headers }: IncomingMessage, url: URL): boolean {
  if (method !== 'GET' || headers.authorization !== undefined) return false;
  if (/\.u?d?deb$|\/by-hash\//.test(url.pathname)) return true;
  return headers['if-modified-since'] === undefined && headers['if-none-match'] === undefined;
}

/** Where the answer has to begin: 0 unless apt asks for the rest of the very object it has a part of. */
function rangeStart({ headers }: IncomingMessage, { etag, lastModified, sizeBytes }: AptObject): number {
  const range = /^bytes=([0-9]{1,15})-$/.exec(headers.range ?? '');
  const condition = headers['if-range'];
  if (range === null || sizeBytes === null) return 0;
  if (condition !== undefined && condition !== etag && condition !== lastModified) return 0;
  return Number(range[1]);
}

function pick(headers: IncomingHttpHeaders, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = headers[name];
      return typeof value === 'string' ? [[name, value]] : [];
    }),
  );
}
