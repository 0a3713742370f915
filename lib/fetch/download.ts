import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { sleep } from '../async.ts';
import type { Digest } from '../checksums.ts';
import { type ErrorCode, ImageBuilderError, safeUrl } from '../errors.ts';
import type { HttpClient } from '../http/client.ts';
import type { HttpHead, HttpResponse } from '../http/response.ts';
import { statusError, UpstreamError } from '../http/upstream-error.ts';
import { openPart, type Part, parseLength } from './part.ts';

/**
 * Downloads one file, resuming where a connection was cut or stalled.
 *
 * A part is continued only when the server confirms, by If-Range with a strong validator, that the file has not
 * changed; otherwise the download starts anew. The part survives the process, so another attempt on the same machine
 * goes on where the dead one stopped.
 */
export interface DownloadOptions {
  readonly url: string;
  /** Where the file grows. On success it is whole and the caller's; on failure the part there can be resumed. */
  readonly partPath: string;
  readonly client: HttpClient;
  readonly signal: AbortSignal;
  readonly maximumBytes: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Digests that the file must have, and in words who says so. */
  readonly expected?: { readonly digests: readonly Digest[]; readonly by: string } | undefined;
  /** Error code for 404 and 410. Default `image.not_found`. */
  readonly notFoundCode?: ErrorCode;
  /** False when the bytes so far may be in use already and cannot be taken back: then a changed file is an error. */
  readonly mayRestart?: boolean;
  /** Called once per answer that brings content; the part's file is there by then. */
  readonly onHead?: (head: HttpHead, totalBytes: number | null) => Promise<void>;
  /** Called for every chunk, of some tens of KB. `totalBytes` is null where the server does not say. */
  readonly onProgress?: ((currentBytes: number, totalBytes: number | null) => void) | undefined;
  readonly onNotice?: (message: string) => void;
  /** Called with the size of every chunk that came, also of those that are thrown away later. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

export interface Download {
  /** The URL as given. */
  readonly url: string;
  /** Where the end of the file came from, after redirects: scheme, host and port. */
  readonly origin: string;
  /** True when the URL and every redirect from it were https, for all of the file. */
  readonly secure: boolean;
  readonly sizeBytes: number;
  /** Lower-case hexadecimal. */
  readonly sha256: string;
  /** The digests by every algorithm that was expected. */
  readonly digests: readonly Digest[];
  readonly etag: string | null;
  readonly lastModified: string | null;
}

/** An attempt that brought this much resets the count of attempts. */
const worthwhileBytes = 1024 * 1024;
/** Left free on the disk, so that a download never fills it. */
const reserveBytes = 64 * 1024 * 1024;

/**
 * Downloads the file. Throws `image.checksum`, `image.truncated`, `image.too_large`, `disk.full`, `egress.refused`,
 * `upstream.*`, or `notFoundCode`; or the reason of the signal.
 */
export async function download(options: DownloadOptions): Promise<Download> {
  const { url, client, signal, expected } = options;
  const algorithms = new Set(['sha256' as const, ...(expected?.digests ?? []).map(({ algorithm }) => algorithm)]);
  await using part = await openPart(options.partPath, url, [...algorithms]);
  for (let attempt = 1; ; attempt += 1) {
    const before = part.bytes;
    try {
      const head = await transfer(part, url, options);
      const digests = part.digests();
      const wrong = digests.find(({ algorithm, hex }) => differs(expected?.digests ?? [], algorithm, hex));
      if (wrong !== undefined) {
        await part.restart();
        throw wrongDigest(url, wrong, expected);
      }
      await part.finish();
      const { etag = null, 'last-modified': lastModified = null } = head.headers;
      const { origin } = new URL(head.url);
      const sha256 = digests[0]?.hex ?? '';
      return { url, origin, secure: head.secure, sizeBytes: part.bytes, sha256, digests, etag, lastModified };
    } catch (error) {
      signal.throwIfAborted();
      if (part.bytes - before >= worthwhileBytes) attempt = 0;
      const waitMs = client.waitMs(error, Math.max(attempt, 1));
      if (waitMs === null) throw error;
      await sleep(waitMs, signal);
      const place = part.bytes === 0 ? 'starting again' : `going on at byte ${part.bytes}`;
      options.onNotice?.(`${error instanceof Error ? error.message : 'the download failed'}; ${place}`);
    }
  }
}

/** One request, and its body to the end of the part. Returns when the part is whole. */
async function transfer(part: Part, url: string, options: DownloadOptions): Promise<HttpHead> {
  const { client, signal, maximumBytes, notFoundCode = 'image.not_found' } = options;
  if (part.validator === null) await restart(part, url, options);
  const resume: Record<string, string> =
    part.bytes > 0 && part.validator !== null ? { range: `bytes=${part.bytes}-`, 'if-range': part.validator } : {};
  using response = await client.send(url, { headers: { ...options.headers, ...resume }, signal });
  if (response.status === 416) {
    await restart(part, url, options);
    throw new UpstreamError('upstream.status', `${safeUrl(url)} cannot be resumed`, { transient: true });
  }
  if (response.status !== 200 && response.status !== 206) {
    throw statusError(response, notFoundCode);
  }
  const totalBytes = await align(part, response, url, options);
  if (totalBytes !== null && totalBytes > maximumBytes) throw tooLarge(url, totalBytes, maximumBytes);
  await checkSpace(options.partPath, (totalBytes ?? 0) - part.bytes);
  if (part.bytes === 0) await part.describe(response);
  await options.onHead?.(response, totalBytes);
  for await (const chunk of response.body) {
    options.onBytes?.(chunk.length);
    const currentBytes = part.bytes + chunk.length;
    if (currentBytes > maximumBytes) throw tooLarge(url, currentBytes, maximumBytes);
    if (totalBytes !== null && currentBytes > totalBytes) {
      await restart(part, url, options);
      const message = `${safeUrl(url)} sent more than the ${totalBytes} bytes it announced`;
      throw new UpstreamError('upstream.status', message, { transient: true, upstreamStatus: response.status });
    }
    await part.append(chunk);
    options.onProgress?.(part.bytes, totalBytes);
  }
  if (totalBytes !== null && part.bytes < totalBytes) {
    const message = `${safeUrl(url)} ended after ${part.bytes} of ${totalBytes} bytes`;
    throw new UpstreamError('image.truncated', message, { transient: true, upstreamStatus: response.status });
  }
  return response;
}

/** Makes the part end where the body of the answer begins, and returns the length of the file. */
async function align(
  part: Part,
  response: HttpResponse,
  url: string,
  options: DownloadOptions,
): Promise<number | null> {
  if (response.status === 200) {
    if (part.bytes > 0) {
      await restart(part, url, options);
      options.onNotice?.(`${safeUrl(url)} has changed or cannot be resumed; starting again`);
    }
    return parseLength(response.headers['content-length']);
  }
  const range = /^bytes ([0-9]+)-[0-9]+\/([0-9]+|\*)$/.exec(response.headers['content-range'] ?? '');
  const totalBytes = parseLength(range?.[2]);
  // Some servers ignore If-Range; a file that changed its validator or its size in between is another file.
  const sameFile = part.isOf(response) && (part.totalBytes === null || totalBytes === part.totalBytes);
  if (range !== null && Number(range[1]) === part.bytes && sameFile) return totalBytes;
  await restart(part, url, options);
  const message = `${safeUrl(url)} changed while it was downloaded, or answered with another range than was asked for`;
  throw new UpstreamError('upstream.status', message, { transient: true, upstreamStatus: response.status });
}

async function restart(part: Part, url: string, options: DownloadOptions): Promise<void> {
  if (part.bytes > 0 && options.mayRestart === false) {
    const message = `${safeUrl(url)} was cut and cannot be resumed`;
    throw new UpstreamError('upstream.unreachable', message, { transient: false });
  }
  await part.restart();
}

async function checkSpace(path: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(path));
  const freeBytes = bavail * bsize;
  if (neededBytes + reserveBytes <= freeBytes) return;
  const message = `${neededBytes} bytes are to be downloaded, but the worker's disk has only ${freeBytes} free`;
  throw new ImageBuilderError('disk.full', message);
}

function differs(expected: readonly Digest[], algorithm: string, hex: string): boolean {
  return expected.some((each) => each.algorithm === algorithm && each.hex !== hex);
}

function wrongDigest(
  url: string,
  { algorithm, hex }: Digest,
  expected: DownloadOptions['expected'],
): ImageBuilderError {
  const wanted = expected?.digests.find((each) => each.algorithm === algorithm)?.hex;
  const message = `${safeUrl(url)} has the ${algorithm} digest ${hex}, but ${expected?.by} says ${wanted}`;
  return new ImageBuilderError('image.checksum', message);
}

function tooLarge(url: string, bytes: number, maximumBytes: number): ImageBuilderError {
  const message = `${safeUrl(url)} has ${bytes} bytes or more; IMAGEBUILDER_MAXIMUM_DOWNLOAD allows ${maximumBytes}`;
  return new ImageBuilderError('image.too_large', message);
}
