import type { FileHandle } from 'node:fs/promises';
import { pipeline, Readable } from 'node:stream';
import { createGunzip, createInflateRaw } from 'node:zlib';
import { ImageBuilderError, isNodeError, saysNoSpace } from '../../errors.ts';
import { ExecError, exec } from '../../exec.ts';
import type { IdRange } from '../../privileges.ts';
import { lendToNewUser } from '../lent-images.ts';
import { unpackedTooLarge } from './sparse-file.ts';
import { decompressZstd } from './zstd-frames.ts';

/** Limits of unpacking, and its reports. */
export interface UnpackLimits {
  /** Largest result. */
  readonly maximumBytes: number;
  /** Users of the tools, where this process is root. */
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
  /** Called with the finished part, 0 to 1, where it is known. */
  readonly onProgress: (fraction: number) => void;
}

/** Part of a file. */
export interface Range {
  readonly offset: number;
  readonly sizeBytes: number;
}

const MiB = 2 ** 20;
const streams = {
  gzip: () => createGunzip({ chunkSize: MiB }),
  deflate: () => createInflateRaw({ chunkSize: MiB }),
};
type StreamMethod = keyof typeof streams | 'zstd';

/**
 * The content of part of a file, in pieces; decompressed in threads. Throws `image.corrupt`, `image.truncated`, or the
 * reason of the signal.
 */
export function unpack(
  input: FileHandle,
  range: Range,
  method: StreamMethod | 'stored',
  { signal, onProgress }: Pick<UnpackLimits, 'signal' | 'onProgress'>,
): AsyncIterable<Buffer> {
  const source = readRange(input, range, signal, onProgress);
  return method === 'stored' ? source : decompress(source, method, signal);
}

async function* readRange(
  input: FileHandle,
  { offset, sizeBytes }: Range,
  signal: AbortSignal,
  onProgress: (fraction: number) => void,
) {
  for (let position = 0; position < sizeBytes; ) {
    signal.throwIfAborted();
    const buffer = Buffer.allocUnsafe(Math.min(MiB, sizeBytes - position));
    const { bytesRead } = await input.read(buffer, 0, buffer.length, offset + position);
    if (bytesRead === 0) throw new ImageBuilderError('image.truncated', 'the file ends within packed data');
    position += bytesRead;
    onProgress(position / sizeBytes);
    yield buffer.subarray(0, bytesRead);
  }
}

async function* decompress(source: AsyncIterable<Buffer>, method: StreamMethod, signal: AbortSignal) {
  try {
    yield* method === 'zstd' ? decompressZstd(source, MiB) : throughStream(source, method);
  } catch (error) {
    signal.throwIfAborted();
    throw isNodeError(error) && !(error instanceof ImageBuilderError) ? damaged(method, error) : error;
  }
}

async function* throughStream(source: AsyncIterable<Buffer>, method: keyof typeof streams): AsyncGenerator<Buffer> {
  const stream = streams[method]();
  // An error of the source ends the stream, whose iteration throws it.
  pipeline(Readable.from(source), stream, () => undefined);
  for await (const chunk of stream as AsyncIterable<Buffer>) yield chunk;
}

/** xz and bzip2 have no stream in Node: their programs run as a user that can open the two files and nothing else. */
const tools = {
  // xz writes holes itself where its output is a file.
  xz: `exec xz --decompress --stdout --no-warn --memlimit-decompress=${768 * MiB} < "$0" > "$1"`,
  bzip2: 'bzip2 --decompress --stdout < "$0" | dd of="$1" bs=64K iflag=fullblock conv=sparse,notrunc status=none',
} as const;

/** Decompresses a whole file by a program. Throws as `unpack` does, `image.too_large`, or `disk.full`. */
export async function decompressByTool(
  inputPath: string,
  method: keyof typeof tools,
  outputPath: string,
  { maximumBytes, unprivilegedIds, signal }: UnpackLimits,
): Promise<void> {
  const files = { input: { path: inputPath, writable: false }, output: { path: outputPath, writable: true } };
  await using lent = await lendToNewUser(files, unprivilegedIds);
  const { names, descriptors, user } = lent;
  // The slowest, bzip2, gives some 20 MB a second.
  const cpuSeconds = 120 + Math.ceil(maximumBytes / (8 * MiB));
  const limits = [`--cpu=${cpuSeconds}`, `--data=${1024 * MiB}`, `--fsize=${maximumBytes}`, '--core=0', '--'];
  try {
    await exec('prlimit', [...limits, 'bash', '-o', 'pipefail', '-c', tools[method], names.input, names.output], {
      ...{ user, signal, inherited: descriptors },
    });
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    throw explain(error, method, maximumBytes);
  }
}

function explain(error: ExecError, method: string, maximumBytes: number): ImageBuilderError {
  const text = error.stderr;
  if (error.signalName === 'SIGXFSZ' || /File too large/.test(text) || error.exitCode === 128 + 25) {
    return unpackedTooLarge(maximumBytes);
  }
  if (saysNoSpace(text)) {
    return new ImageBuilderError('disk.full', 'no space was left to unpack the image', { cause: error });
  }
  if (/not found/.test(text)) {
    return new ImageBuilderError(
      'tool.failed',
      `${method} is not installed on the worker: it needs the Debian packages xz-utils and bzip2`,
      { cause: error },
    );
  }
  if (/Unexpected end of input|ends unexpectedly/i.test(text)) {
    return new ImageBuilderError('image.truncated', `the ${method} file ends too early`, { cause: error });
  }
  if (/Memory usage limit/i.test(text)) {
    return new ImageBuilderError(
      'image.unsupported',
      `the ${method} file needs more than 768 MiB of memory to be unpacked`,
      { cause: error },
    );
  }
  return damaged(method, error);
}

function damaged(method: string, cause: Error): ImageBuilderError {
  const cut = isNodeError(cause) && cause.code === 'Z_BUF_ERROR';
  return cut
    ? new ImageBuilderError('image.truncated', `the ${method} data ends too early`, { cause })
    : new ImageBuilderError('image.corrupt', `the ${method} data is damaged`, { cause });
}
