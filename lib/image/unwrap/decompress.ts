import type { FileHandle } from 'node:fs/promises';
import { pipeline, Readable, type Transform } from 'node:stream';
import { createGunzip, createInflateRaw, createZstdDecompress } from 'node:zlib';
import { ImageBuilderError, isNodeError } from '../../errors.ts';
import { ExecError, exec } from '../../exec.ts';
import { type IdRange, newUnprivilegedUser } from '../../privileges.ts';
import { endProcesses } from '../../unprivileged.ts';
import { lendImages } from '../lent-images.ts';
import { writeSparse } from './sparse-file.ts';

export type Compression = 'gzip' | 'zstd' | 'xz' | 'bzip2' | 'deflate';

/** What unpacking may take, and where it may go. */
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
const streams: Partial<Record<Compression, () => Transform>> = {
  gzip: () => createGunzip({ chunkSize: MiB }),
  deflate: () => createInflateRaw({ chunkSize: MiB }),
  zstd: () => createZstdDecompress({ chunkSize: MiB }),
};

/**
 * Decompresses part of a file, in threads, into a file that is empty from `outputOffset` on, with holes where it is
 * zero. Resolves with the size of the file then. `onChunk` gets each piece. Throws `image.corrupt`, `image.truncated`, `image.too_large`, `disk.full`, or
 * the reason of the signal.
 */
export async function decompressStream(
  input: FileHandle,
  { offset, sizeBytes }: Range,
  method: 'gzip' | 'zstd' | 'deflate' | 'stored',
  output: FileHandle,
  { maximumBytes, signal, onProgress }: UnpackLimits,
  onChunk: (chunk: Buffer) => void = () => undefined,
  outputOffset = 0,
): Promise<number> {
  const source = readRange(input, offset, sizeBytes, signal, onProgress);
  const chunks = method === 'stored' ? source : decompressed(source, method, signal);
  const seen = (async function* () {
    for await (const chunk of chunks) {
      onChunk(chunk);
      yield chunk;
    }
  })();
  const check = (endOffset: number) => {
    if (endOffset > maximumBytes) throw tooLarge(maximumBytes);
  };
  return await writeSparse(output, seen, check, outputOffset);
}

async function* readRange(
  input: FileHandle,
  offset: number,
  sizeBytes: number,
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

async function* decompressed(
  source: AsyncIterable<Buffer>,
  method: Exclude<Compression, 'xz' | 'bzip2'>,
  signal: AbortSignal,
) {
  const stream = streams[method]?.() as Transform;
  // An error of the source ends the stream, whose iteration throws it.
  pipeline(Readable.from(source), stream, () => undefined);
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) yield chunk;
  } catch (error) {
    signal.throwIfAborted();
    throw isNodeError(error) && !(error instanceof ImageBuilderError) ? damaged(method, error) : error;
  }
}

/** xz and bzip2 have no stream in Node: their programs run as a user that can open the two files and nothing else. */
const tools = {
  // xz writes holes itself where its output is a file.
  xz: `exec xz --decompress --stdout --no-warn --memlimit-decompress=${768 * MiB} < "$0" > "$1"`,
  bzip2: 'bzip2 --decompress --stdout < "$0" | dd of="$1" bs=64K iflag=fullblock conv=sparse,notrunc status=none',
} as const;

/** Decompresses a whole file by a program. Throws as `decompressStream` does. */
export async function decompressByTool(
  inputPath: string,
  method: 'xz' | 'bzip2',
  outputPath: string,
  { maximumBytes, unprivilegedIds, signal }: UnpackLimits,
): Promise<void> {
  const user = newUnprivilegedUser(unprivilegedIds);
  await using opened = new AsyncDisposableStack();
  const files = { input: { path: inputPath, writable: false }, output: { path: outputPath, writable: true } };
  const { names, descriptors } = opened.use(await lendImages(files, user));
  opened.defer(() => endProcesses(user));
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

function explain(error: ExecError, method: Compression, maximumBytes: number): ImageBuilderError {
  const text = error.stderr;
  if (error.signalName === 'SIGXFSZ' || /File too large/.test(text) || error.exitCode === 128 + 25)
    return tooLarge(maximumBytes);
  if (/No space left on device/.test(text))
    return new ImageBuilderError('disk.full', 'no space was left to unpack the image', { cause: error });
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

function damaged(method: Compression, cause: Error): ImageBuilderError {
  const cut = isNodeError(cause) && cause.code === 'Z_BUF_ERROR';
  return cut
    ? new ImageBuilderError('image.truncated', `the ${method} data ends too early`, { cause })
    : new ImageBuilderError('image.corrupt', `the ${method} data is damaged`, { cause });
}

function tooLarge(maximumBytes: number): ImageBuilderError {
  return new ImageBuilderError(
    'image.too_large',
    `the image unpacks to more than the ${maximumBytes} bytes that IMAGEBUILDER_MAXIMUM_VIRTUAL_SIZE and its size as packed allow`,
  );
}
