import type { IncomingHttpHeaders } from 'node:http';
import type { Response as GotResponse, Request } from 'got';
import { createByteBuffer } from '../byte-buffer.ts';
import { safeUrl } from '../errors.ts';
import { removeCoding } from './content-encoding.ts';
import { createRateGuard, leastBytesPerSecond } from './rate.ts';
import { tooSlow, toUpstreamError, UpstreamError } from './upstream-error.ts';

/** The answer to a request: its head, and a body that is read under the stall limit. */

export interface HttpHead {
  readonly status: number;
  readonly statusText: string;
  readonly headers: IncomingHttpHeaders;
  /** Where the answer came from, after redirects. */
  readonly url: string;
  /** True when the URL and every redirect from it were https. */
  readonly secure: boolean;
}

/** An answer with its body. Disposing it breaks the connection off when the body was not read to its end. */
export interface HttpResponse extends HttpHead, Disposable {
  /** To be iterated at most once. Throws when the connection is cut or stalls, or the signal's reason. */
  readonly body: AsyncIterable<Buffer>;
}

export interface BodyLimits {
  readonly stallTimeoutMs: number;
  /** See `HttpRequest`. */
  readonly isLive: boolean;
  readonly signal: AbortSignal | undefined;
}

/** The answer of a got stream whose head has come. */
export function toResponse(
  stream: Request,
  response: GotResponse,
  url: string | URL,
  limits: BodyLimits,
): HttpResponse {
  return {
    status: response.statusCode,
    statusText: response.statusMessage ?? '',
    headers: response.headers,
    url: String(url),
    secure: new URL(url).protocol === 'https:',
    body: readBody(stream, url, limits),
    [Symbol.dispose]: () => {
      stream.destroy();
    },
  };
}

/**
 * The chunks of a body. Throws when they stop coming or come too slowly; only time spent waiting for the server
 * counts, not time the reader takes.
 */
async function* readBody(
  stream: Request,
  url: string | URL,
  { stallTimeoutMs, isLive, signal }: BodyLimits,
): AsyncGenerator<Buffer, void> {
  const stalled = () => stream.destroy(tooSlow(url, `sent nothing for ${Math.round(stallTimeoutMs / 1000)} seconds`));
  const rate = createRateGuard(stallTimeoutMs);
  const chunks: AsyncIterator<Buffer> = stream[Symbol.asyncIterator]();
  let timer: NodeJS.Timeout | undefined;
  try {
    for (;;) {
      timer = setTimeout(stalled, stallTimeoutMs);
      const askedMs = performance.now();
      const { done, value } = await chunks.next();
      clearTimeout(timer);
      if (done === true) return;
      if (!isLive && rate.isTooSlow(performance.now() - askedMs, value.length)) {
        throw tooSlow(url, `sends less than ${leastBytesPerSecond} bytes a second`);
      }
      yield value;
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw toUpstreamError(error, url);
  } finally {
    clearTimeout(timer);
    stream.destroy();
  }
}

/** An answer whose body was read as text. */
export interface TextResponse extends HttpHead {
  readonly text: string;
}

/** The answer with its whole body, decoded where the server has encoded it. Throws as `readAll` does. */
export async function readText(response: HttpResponse, maximumBytes: number): Promise<TextResponse> {
  const { status, statusText, headers, url, secure } = response;
  const body = await readAll(response, maximumBytes);
  const encoding = headers['content-encoding'];
  const text = await removeCoding(body, encoding, maximumBytes).catch((cause: unknown) => {
    const message = `${safeUrl(url)} answered with a body that is no ${encoding}, or has more than ${maximumBytes} bytes`;
    throw new UpstreamError('upstream.unusable', message, { transient: false, upstreamStatus: status, cause });
  });
  return { status, statusText, headers, url, secure, text: text.toString('utf8') };
}

/** The whole body. Throws `upstream.unusable` when it is longer than `maximumBytes`. */
export async function readAll(response: HttpResponse, maximumBytes: number): Promise<Buffer> {
  const body = createByteBuffer();
  for await (const chunk of response.body) {
    if (body.size + chunk.length > maximumBytes) {
      const message = `${safeUrl(response.url)} answered with more than ${maximumBytes} bytes`;
      throw new UpstreamError('upstream.unusable', message, { transient: false, upstreamStatus: response.status });
    }
    body.append(chunk);
  }
  return body.bytes();
}
