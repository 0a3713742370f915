import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { createByteBuffer } from '../byte-buffer.ts';

interface Coding {
  readonly decode: (bytes: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;
  readonly stream: () => NodeJS.ReadWriteStream;
}

const gzip: Coding = { decode: promisify(zlib.gunzip), stream: () => zlib.createGunzip() };
const codings: Readonly<Record<string, Coding>> = {
  gzip,
  'x-gzip': gzip,
  deflate: { decode: promisify(zlib.inflate), stream: () => zlib.createInflate() },
  br: { decode: promisify(zlib.brotliDecompress), stream: () => zlib.createBrotliDecompress() },
  zstd: { decode: promisify(zlib.zstdDecompress), stream: () => zlib.createZstdDecompress() },
};

function codingOf(encoding: string | undefined): Coding | undefined {
  return codings[encoding?.trim().toLowerCase() ?? ''];
}

/**
 * A body as it was before the server encoded it for the way (RFC 9110, 8.4), though nobody asked it to: some servers
 * keep their text files compressed. Throws where it is longer than `maximumBytes` then, or not encoded as its head says.
 */
export async function removeCoding(body: Buffer, encoding: string | undefined, maximumBytes: number): Promise<Buffer> {
  return codingOf(encoding)?.decode(body, { maxOutputLength: maximumBytes }) ?? body;
}

/**
 * The beginning of such a body, at most `maximumBytes` of it, by the first bytes that came. Null where the body is not
 * encoded.
 */
export async function beginningOf(
  bytes: Buffer,
  encoding: string | undefined,
  maximumBytes: number,
): Promise<Buffer | null> {
  const coding = codingOf(encoding);
  if (coding === undefined) return null;
  const first = createByteBuffer();
  try {
    for await (const chunk of Readable.from([bytes]).pipe(coding.stream()) as AsyncIterable<Buffer>) {
      first.append(chunk.subarray(0, maximumBytes - first.size));
      if (first.size === maximumBytes) break;
    }
  } catch {
    // The end is missing.
  }
  return first.bytes();
}
