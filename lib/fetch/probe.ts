import { createByteBuffer } from '../byte-buffer.ts';
import { ImageBuilderError, isNodeError, safeUrl, toImageBuilderError } from '../errors.ts';
import { type FileFormat, headBytes, recognise } from '../file-format.ts';
import type { HttpClient } from '../http/client.ts';
import { beginningOf } from '../http/content-encoding.ts';
import type { HttpResponse } from '../http/response.ts';
import { UpstreamError } from '../http/upstream-error.ts';
import { parseLength } from './part.ts';

/** The file found at one URL of a request's `url_list`. */
export interface Probe {
  readonly url: string;
  /** Last part of the path. */
  readonly fileName: string;
  readonly format: FileFormat;
  /** Null where the server does not say. */
  readonly sizeBytes: number | null;
  readonly etag: string | null;
  readonly lastModified: string | null;
  /** Where the answer came from, after redirects: scheme, host and port. */
  readonly origin: string;
  /** True when the URL and every redirect from it were https. */
  readonly secure: boolean;
  /** The first bytes, at most `headBytes`. */
  readonly firstBytes: Buffer;
}

/** The failure of looking at a URL. */
export interface FailedProbe {
  readonly url: string;
  /** Last part of the path. */
  readonly fileName: string;
  readonly error: ImageBuilderError;
}

/** Looks at the first bytes of a URL. The error of a server is a result, for other URLs may do. */
export async function probe(url: string, client: HttpClient, signal: AbortSignal): Promise<Probe | FailedProbe> {
  try {
    return await client.retry(() => look(url, client, signal), { signal });
  } catch (error) {
    signal.throwIfAborted();
    const known = isUnknownHost(error) ? noSuchHost(url, error) : toImageBuilderError(error);
    return { url, fileName: fileNameOf(url), error: known };
  }
}

async function look(url: string, client: HttpClient, signal: AbortSignal): Promise<Probe> {
  const fileName = fileNameOf(url);
  const headers = { range: `bytes=0-${headBytes - 1}` };
  // Only an empty file cannot satisfy a range that begins at its first byte.
  const options = { headers, signal, notFoundCode: 'image.not_found', okStatuses: [416], attempts: 1 } as const;
  using response = await client.open(url, options);
  const empty = response.status === 416;
  const firstBytes = empty ? Buffer.alloc(0) : await readFirst(response, headBytes);
  return {
    url,
    fileName,
    format: await recogniseFirst(firstBytes, response.headers['content-encoding'], fileName),
    sizeBytes: empty ? 0 : wholeSize(response),
    etag: response.headers.etag ?? null,
    lastModified: response.headers['last-modified'] ?? null,
    origin: new URL(response.url).origin,
    secure: response.secure,
    firstBytes,
  };
}

/** A text may have been encoded for the way; an image is taken as the server has it. */
async function recogniseFirst(head: Buffer, encoding: string | undefined, name: string): Promise<FileFormat> {
  const decoded = await beginningOf(head, encoding, headBytes);
  const text = decoded === null ? null : recognise({ head: decoded, name });
  return text?.format === 'checksums' ? text : recognise({ head, name });
}

/** The request has named the host, so a wrong name is the request's fault. */
function isUnknownHost(error: unknown): boolean {
  return error instanceof UpstreamError && isNodeError(error.cause) && error.cause.code === 'ENOTFOUND';
}

function noSuchHost(url: string, cause: unknown): ImageBuilderError {
  return new ImageBuilderError('image.not_found', `${safeUrl(url)}: DNS knows no such host`, { cause });
}

/** The last part of a URL's path, decoded. */
function fileNameOf(url: string): string {
  const name = new URL(url).pathname.split('/').at(-1) ?? '';
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

/** At most `maximumBytes` of the body; a server that ignores Range is cut off there. */
async function readFirst(response: HttpResponse, maximumBytes: number): Promise<Buffer> {
  const first = createByteBuffer();
  for await (const chunk of response.body) {
    first.append(chunk.subarray(0, maximumBytes - first.size));
    if (first.size === maximumBytes) break;
  }
  return first.bytes();
}

function wholeSize({ status, headers }: HttpResponse): number | null {
  if (status === 206) return parseLength(headers['content-range']?.split('/').at(-1));
  return parseLength(headers['content-length']);
}
