import type { Hash } from 'node:crypto';
import { once } from 'node:events';
import { type FileHandle, open } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import got, { type OptionsInit, type Request, type Response } from 'got';
import { createByteBuffer } from '../../byte-buffer.ts';
import { safeUrl } from '../../errors.ts';
import type { Answer } from './answer.ts';
import { connectionError, OpenStackError } from './error.ts';

/**
 * HTTP to OpenStack. It is separate from the client for URLs of requests, because it reaches the operator's own servers
 * at any address, uses their own CA, and sends bodies. Makes one attempt each, and follows no redirect, so that the
 * token goes nowhere else.
 */
export interface Transport {
  /** Resolves with the answer, whatever its status. Throws OpenStackError where none comes, or the signal's reason. */
  send(request: TransportRequest): Promise<Answer>;
  /** PUTs a part of a file. Throws OpenStackError where the connection is cut or stalls, or the signal's reason. */
  upload(request: UploadRequest): Promise<Answer>;
}

export interface TransportOptions {
  readonly certificateAuthority: string | null;
  /** For each of DNS, TCP and TLS. */
  readonly connectTimeoutMs: number;
  /** Longest time in which the server takes not a byte of an upload, before it is broken off. */
  readonly stallTimeoutMs: number;
  readonly userAgent: string;
}

export interface TransportRequest {
  /** Name of the server in messages. */
  readonly server: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal: AbortSignal;
}

export interface UploadRequest extends Omit<TransportRequest, 'method' | 'body'> {
  readonly body: FilePart;
}

export interface FilePart {
  readonly path: string;
  readonly startByte: number;
  readonly bytes: number;
  /** Is updated with every byte sent. */
  readonly digest?: Hash;
  /** Called with the number of bytes of the part that are sent. */
  readonly onProgress?: (sentBytes: number) => void;
}

const answerTimeoutMs = 60_000;
/** After the last byte a server may still be copying to a store of its own, at this rate (10 MiB/s) or faster. */
const slowestFinishBytesPerMs = (10 * 1024 * 1024) / 1000;
/** Time to wait for "100 Continue". Servers and proxies that do not know it get the body anyway (as with curl). */
const continueTimeoutMs = 1_000;
const chunkBytes = 256 * 1024;

/** Makes the transport. */
export function createTransport(options: TransportOptions): Transport {
  const { connectTimeoutMs: connect, stallTimeoutMs, certificateAuthority } = options;
  // Connections are not kept: a build makes few calls, and uwsgi closes idle connections without notice.
  const agent = { http: new http.Agent({ keepAlive: false }), https: new https.Agent({ keepAlive: false }) };

  function gotOptions(request: Omit<TransportRequest, 'method' | 'body'>) {
    return {
      headers: { 'user-agent': options.userAgent, ...request.headers },
      signal: request.signal,
      agent,
      followRedirect: false,
      throwHttpErrors: false,
      decompress: false,
      retry: { limit: 0 },
      ...(certificateAuthority === null ? {} : { https: { certificateAuthority } }),
    } as const satisfies OptionsInit;
  }
  const connectTimeouts = { lookup: connect, connect, secureConnect: connect };

  return {
    async send(request) {
      const { method, body, signal, server, url } = request;
      signal.throwIfAborted();
      const tooLong = new AbortController();
      try {
        const call = got(url, {
          ...gotOptions({ ...request, signal: AbortSignal.any([signal, tooLong.signal]) }),
          method,
          ...(body === undefined ? {} : { body }),
          timeout: { ...connectTimeouts, request: answerTimeoutMs },
        });
        void call.on('downloadProgress', ({ transferred }) => {
          if (transferred > maximumAnswerBytes) tooLong.abort();
        });
        const response = await call;
        return toAnswer(response, response.body);
      } catch (error) {
        signal.throwIfAborted();
        if (tooLong.signal.aborted) throw answerTooLong(server, url);
        throw connectionError(server, url, error);
      }
    },

    async upload(request) {
      const { body, signal, server, url, headers } = request;
      signal.throwIfAborted();
      const stream = got.stream(url, {
        ...gotOptions({
          ...request,
          headers: { ...headers, 'content-length': String(body.bytes), expect: '100-continue' },
        }),
        method: 'PUT',
        timeout: { ...connectTimeouts, response: stallTimeoutMs + body.bytes / slowestFinishBytesPerMs },
      });
      const outgoing = sendBody(stream, body, stallTimeoutMs);
      try {
        // A server that refuses may answer before it has read everything; the rest of the sending is then irrelevant.
        const response = await Promise.race([outgoing.answered, outgoing.sent.then(() => outgoing.answered)]);
        return toAnswer(response, await readText(stream, server, url));
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof OpenStackError) throw error;
        if (outgoing.failure() === 'stalled') {
          const what = `took no byte for ${Math.round(stallTimeoutMs / 1000)} seconds`;
          throw new OpenStackError(`${server} at ${safeUrl(url)} ${what}`, { transient: true });
        }
        throw outgoing.failure() ?? connectionError(server, url, error, { bodySent: outgoing.isSent() });
      } finally {
        stream.destroy();
      }
    },
  };
}

interface Outgoing {
  readonly answered: Promise<Response>;
  /** Resolves when all is sent, or an answer has made sending needless. */
  readonly sent: Promise<void>;
  isSent(): boolean;
  /** The failure on this side because of which the connection is cut. */
  failure(): Error | 'stalled' | undefined;
}

/**
 * Sends the body once the server has asked for it. A source that fails or ends early destroys the request: Glance takes
 * a body that ends in order for a whole one.
 */
function sendBody(stream: Request, body: FilePart, stallTimeoutMs: number): Outgoing {
  let failure: Error | 'stalled' | undefined;
  let isSent = false;
  const fail = (reason: Error | 'stalled') => {
    failure ??= reason;
    stream.destroy(reason === 'stalled' ? new Error(reason) : reason);
  };
  const answered = new Promise<Response>((resolve, reject) => {
    stream.once('response', resolve);
    stream.on('error', reject);
  });

  async function send(): Promise<void> {
    if (!(await isWanted(stream, answered))) return;
    const timer = setTimeout(() => fail('stalled'), stallTimeoutMs);
    try {
      let sentBytes = 0;
      for await (const written of writeParts(stream, body, fail)) {
        sentBytes += written;
        timer.refresh();
        body.onProgress?.(sentBytes);
      }
      isSent = true;
      stream.end();
    } finally {
      clearTimeout(timer);
    }
  }

  const sent = send();
  // Only the first of the two that settles is used; this keeps the other's rejection from ending the process.
  for (const promise of [answered, sent]) promise.catch(() => undefined);
  return { answered, sent, isSent: () => isSent, failure: () => failure };
}

/** False when the server answers instead of asking for the body. */
async function isWanted(stream: Request, answered: Promise<Response>): Promise<boolean> {
  const waiting = new AbortController();
  const { signal } = waiting;
  try {
    return await Promise.race([
      answered.then(() => false),
      once(stream, 'continue', { signal }).then(() => true),
      sleep(continueTimeoutMs, true, { signal }),
    ]);
  } finally {
    waiting.abort();
  }
}

/**
 * Writes the part of the file and yields after every chunk the number of bytes that have left for the kernel. Reads the
 * next chunk meanwhile. Two buffers take turns, since new ones for every chunk were measured to cost as much time as
 * all the rest. Calls `fail` when the file cannot be read or has fewer bytes.
 */
async function* writeParts(
  stream: Request,
  { path, startByte, bytes, digest }: FilePart,
  fail: (reason: Error) => void,
): AsyncGenerator<number, void> {
  const closed = new Promise<never>((_, reject) => {
    stream.once('close', () => reject(new Error('the connection was closed')));
  });
  closed.catch(() => undefined);
  const write = (chunk: Buffer) =>
    Promise.race([
      closed,
      new Promise<number>((resolve, reject) => {
        stream.write(chunk, (error) => (error ? reject(error) : resolve(chunk.length)));
      }),
    ]);
  const read = async (file: FileHandle, buffer: Buffer, position: number) => {
    try {
      const wanted = Math.min(chunkBytes, bytes - position);
      const { bytesRead } = await file.read(buffer, 0, wanted, startByte + position);
      if (bytesRead === 0) throw new Error(`${path} has become shorter while it was uploaded`);
      return buffer.subarray(0, bytesRead);
    } catch (error) {
      fail(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
  };

  await using file = await open(path, 'r').catch((error: Error) => {
    fail(error);
    throw error;
  });
  const buffers = [Buffer.allocUnsafe(chunkBytes), Buffer.allocUnsafe(chunkBytes)] as const;
  let writing: Promise<number> | null = null;
  for (let position = 0, turn = 0; position < bytes; turn += 1) {
    const chunk = await read(file, buffers[turn % 2 === 0 ? 0 : 1], position);
    position += chunk.length;
    digest?.update(chunk);
    if (writing !== null) yield await writing;
    writing = write(chunk);
    writing.catch(() => undefined);
  }
  if (writing !== null) yield await writing;
}

/** Far larger than a catalogue or a page of a list. */
const maximumAnswerBytes = 16 * 1024 * 1024;

function answerTooLong(server: string, url: string): OpenStackError {
  return new OpenStackError(
    `${server} at ${safeUrl(url)} answered with more than ${maximumAnswerBytes} bytes, which nothing that is asked of it takes`,
    { transient: false },
  );
}

/** The body of an answer. Throws OpenStackError beyond 16 MiB. */
async function readText(stream: Request, server: string, url: string): Promise<string> {
  const body = createByteBuffer();
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    if (body.size + chunk.length > maximumAnswerBytes) throw answerTooLong(server, url);
    body.append(chunk);
  }
  return body.bytes().toString('utf8');
}

function toAnswer(response: Response, text: string): Answer {
  const { statusCode, statusMessage, headers, url } = response;
  return { url, status: statusCode, statusText: statusMessage ?? '', headers, text };
}
