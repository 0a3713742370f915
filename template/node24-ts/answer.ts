import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isEventStream } from './event-stream.ts';
import { type ProblemCode, problemDocument, problems } from './problem.ts';
import { discardRest } from './read-body.ts';

/** Sends the value that a handler returned. */

export interface AnswerHead {
  /** As set by the handler; undefined where it set none. */
  readonly status: number | undefined;
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>;
}

export interface SendOptions {
  /** Most bytes of a stream that are collected for its content-length; default none. */
  readonly collectBytes?: number;
  /** Ends a stream of events. */
  readonly stopping?: AbortSignal;
}

/**
 * Sends `value` as `Handler` in function.ts describes. Throws where it cannot be sent; as long as
 * `response.headersSent` is false another answer is still possible. A stream without a content-length that ends within
 * `collectBytes` goes out whole, with one.
 */
export async function sendAnswer(
  response: ServerResponse,
  head: AnswerHead,
  value: unknown,
  { collectBytes = 0, stopping }: SendOptions = {},
): Promise<void> {
  if (isAsyncIterable(value)) {
    const stream = value instanceof Readable ? value : Readable.from(value);
    if (!isEventStream(head.headers.get('content-type'))) return sendStream(response, head, stream, collectBytes);
    return sendEvents(response, head, stream, stopping);
  }
  const [body, contentType] = encode(value);
  const status = head.status ?? (value === undefined ? 204 : 200);
  response.statusCode = status;
  if (body !== undefined) response.setHeader('content-type', contentType);
  for (const [name, text] of head.headers) response.setHeader(name, text);
  // A length that the handler set for a body that it did not encode itself would be a guess. 204 and 304 have no
  // length.
  if (mayHaveBody(status)) response.setHeader('content-length', body?.length ?? 0);
  else response.removeHeader('content-length');
  response.end(mayHaveBody(status) ? body : undefined);
}

/** Sends one of the template's own errors; `more` are headers that go with it. */
export function sendProblem(
  response: ServerResponse,
  code: ProblemCode,
  detail: string,
  more: Readonly<Record<string, string>> = {},
): Promise<void> {
  const headers = new Map(Object.entries({ 'content-type': 'application/problem+json', ...more }));
  return sendAnswer(response, { status: problems[code].status, headers }, problemDocument(code, detail));
}

/**
 * Like `sendProblem`, for a request whose body is not needed: the answer is sent at once, the connection closed when
 * the caller has stopped sending.
 */
export async function sendProblemAndDiscard(
  response: ServerResponse,
  code: ProblemCode,
  detail: string,
  more: Readonly<Record<string, string>> = {},
): Promise<void> {
  const body = Buffer.from(JSON.stringify(problemDocument(code, detail)));
  response.writeHead(problems[code].status, {
    'content-type': 'application/problem+json',
    'content-length': body.length,
    connection: 'close',
    ...more,
  });
  response.write(body);
  await discardRest(response.req);
  response.end();
}

/** The head goes out with the first chunk, so that a source that fails before it can still become a proper error. */
async function sendStream(
  response: ServerResponse,
  head: AnswerHead,
  stream: Readable,
  collectBytes: number,
): Promise<void> {
  const status = head.status ?? 200;
  let callerLeft = response.closed;
  const abandon = () => {
    callerLeft = !stream.destroyed;
    stream.destroy();
  };
  // hasBegun and pipeline report an error of the stream; in the moment between the two it has no other listener.
  stream.on('error', () => {});
  if (callerLeft) return abandon();
  response.once('close', abandon);
  const begun = await hasBegun(stream);
  if (callerLeft) return;
  if (!begun) throw new Error('the stream that the handler returned was destroyed before it began');
  response.statusCode = status;
  response.setHeader('content-type', 'application/octet-stream');
  for (const [name, text] of head.headers) response.setHeader(name, text);
  if (!mayHaveBody(status) || response.req.method === 'HEAD') {
    response.end();
    stream.destroy();
    return;
  }
  const length = head.headers.get('content-length');
  try {
    // A source that fails destroys the response and with it the connection, which shows a caller who is connected to
    // this process that the answer is incomplete.
    if (length !== undefined) await pipeline(stream, exactly(Number(length)), response);
    else if (collectBytes === 0) await pipeline(stream, response);
    else await sendCollected(response, stream, collectBytes);
  } catch (error) {
    if (!callerLeft) throw error;
  }
}

/** The head goes out before the first event, each event as it comes. A function that stops ends the answer in order. */
async function sendEvents(
  response: ServerResponse,
  head: AnswerHead,
  stream: Readable,
  stopping: AbortSignal | undefined,
): Promise<void> {
  const { promise: failed, reject } = Promise.withResolvers<never>();
  stream.once('error', reject).once('close', () => {
    if (!stream.readableEnded && !response.writableEnded) reject(new Error('the handler gave its stream up'));
  });
  const left = new Promise<void>((resolve) => response.once('close', resolve));
  const end = () => {
    stream.unpipe(response).destroy();
    response.end();
  };
  response.statusCode = head.status ?? 200;
  // No cache keeps it, and nginx, which collects answers otherwise, passes it on.
  response.setHeader('cache-control', 'no-store');
  response.setHeader('x-accel-buffering', 'no');
  for (const [name, text] of head.headers) response.setHeader(name, text);
  response.removeHeader('content-length');
  if (response.closed || response.req.method === 'HEAD' || stopping?.aborted) return end();
  stopping?.addEventListener('abort', end, { once: true });
  try {
    response.flushHeaders();
    stream.pipe(response);
    await Promise.race([left, failed]);
  } finally {
    stopping?.removeEventListener('abort', end);
    stream.destroy();
  }
}

/** Sends a stream of at most `most` bytes whole, with its content-length; of a longer one, what comes as it comes. */
async function sendCollected(response: ServerResponse, stream: Readable, most: number): Promise<void> {
  const chunks: Buffer[] = [];
  const iterator = (stream as AsyncIterable<string | Uint8Array>)[Symbol.asyncIterator]();
  for (let size = 0; size <= most; size += chunks.at(-1)?.length ?? 0) {
    const { done, value } = await iterator.next();
    if (done === true) {
      response.setHeader('content-length', size);
      response.end(Buffer.concat(chunks));
      return;
    }
    chunks.push(Buffer.from(value));
  }
  const rest = { [Symbol.asyncIterator]: () => iterator };
  await pipeline(async function* () {
    yield Buffer.concat(chunks);
    yield* rest;
  }, response);
}

/** With another number of bytes than promised, the next answer on this connection would begin at the wrong place. */
function exactly(length: number) {
  return async function* (source: AsyncIterable<string | Uint8Array>) {
    let size = 0;
    for await (const chunk of source) {
      size += Buffer.byteLength(chunk);
      if (size > length) break;
      yield chunk;
    }
    if (size !== length) throw new Error(`the stream is not of the ${length} bytes that its content-length says`);
  };
}

/** Waits for the first chunk or the end of `stream`: true. False: it was given up. Throws the error of the stream. */
async function hasBegun(stream: Readable): Promise<boolean> {
  if (stream.errored !== null) throw stream.errored;
  if (stream.readableLength > 0 || stream.readableEnded) return true;
  if (stream.destroyed) return false;
  const settled = new AbortController();
  const { signal } = settled;
  try {
    return await Promise.race([
      once(stream, 'readable', { signal }).then(() => true),
      once(stream, 'close', { signal }).then(() => false),
    ]);
  } finally {
    settled.abort();
  }
}

function encode(value: unknown): [body: Buffer | undefined, contentType: string] {
  if (value === undefined) return [undefined, ''];
  if (typeof value === 'string') return [Buffer.from(value), 'text/plain; charset=utf-8'];
  if (ArrayBuffer.isView(value)) {
    return [Buffer.from(value.buffer, value.byteOffset, value.byteLength), 'application/octet-stream'];
  }
  const json = JSON.stringify(value) as string | undefined;
  if (json === undefined) throw new TypeError(`the handler returned a ${typeof value}, which is no answer`);
  return [Buffer.from(json), 'application/json'];
}

/** RFC 9110, 6.4.1: no body with 204 and 304. */
function mayHaveBody(status: number): boolean {
  return status !== 204 && status !== 304;
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}
