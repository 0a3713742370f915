import { open } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { pipeline, Readable } from 'node:stream';
import { promisify } from 'node:util';
import { constants, crc32, createZstdCompress, deflateRaw } from 'node:zlib';
import { ImageBuilderError, saysNoSpace } from '../errors.ts';
import { ExecError, exec } from '../exec.ts';
import type { IdRange } from '../privileges.ts';
import { writeAll } from '../write-all.ts';
import { lendToNewUser } from './lent-images.ts';

export type Compression = 'gzip' | 'xz' | 'zstd' | 'none';

export interface CompressOptions {
  readonly compression: Compression;
  /** Of gzip, 1 to 9. */
  readonly gzipLevel: number;
  /** Of xz, 0 to 9, and its threads. */
  readonly xzPreset: number;
  readonly xzThreads: number;
  /** Users of the tools, where this process is root. */
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/**
 * Writes a new file with the content, compressed. The same content makes the same bytes on every machine. Throws
 * `disk.full`, `tool.failed`, errors of the content, or the reason of the signal.
 */
export async function writeCompressed(
  path: string,
  content: AsyncIterable<Buffer>,
  options: CompressOptions,
): Promise<void> {
  const { compression, gzipLevel, signal } = options;
  if (compression === 'xz') return await compressByXz(path, content, options);
  const compressed =
    compression === 'gzip' ? gzip(content, gzipLevel) : compression === 'zstd' ? zstd(content) : content;
  await using output = await open(path, 'wx', 0o600);
  let position = 0;
  for await (const bytes of compressed) {
    signal.throwIfAborted();
    await writeAll(output, bytes, position);
    position += bytes.length;
  }
}

function zstd(content: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  const params = { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_checksumFlag]: 1 };
  const stream = createZstdCompress({ params });
  // An error of the content ends the stream, whose iteration throws it.
  pipeline(Readable.from(content), stream, () => undefined);
  return stream;
}

const deflateBlock = promisify(
  (block: Buffer, options: Parameters<typeof deflateRaw>[1], done: (error: Error | null, result: Buffer) => void) =>
    deflateRaw(block, options ?? {}, done),
);

/** Bytes that are compressed by themselves; the dictionary is as far as deflate looks back. */
const [blockBytes, dictionaryBytes] = [512 * 1024, 32 * 1024];

/**
 * One gzip stream (RFC 1952) whose blocks are compressed in threads: each ends on a byte, and has the end of the one
 * before as its dictionary.
 */
async function* gzip(content: AsyncIterable<Buffer>, level: number): AsyncGenerator<Buffer, void, undefined> {
  const extra = level === 9 ? 2 : level === 1 ? 4 : 0;
  yield Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra, 3]);
  const running: Promise<Buffer>[] = [];
  let dictionary: Buffer | undefined;
  let [sum, size] = [0, 0];
  for await (const block of blocksOf(content)) {
    const options = { level, finishFlush: constants.Z_SYNC_FLUSH, ...(dictionary === undefined ? {} : { dictionary }) };
    const result = deflateBlock(block, options);
    // Awaited below; by then, another block may have failed.
    result.catch(() => undefined);
    running.push(result);
    sum = crc32(block, sum);
    size += block.length;
    dictionary = block.subarray(-dictionaryBytes);
    if (running.length > availableParallelism()) yield (await running.shift()) ?? Buffer.alloc(0);
  }
  for (const result of running) yield await result;
  const end = Buffer.alloc(10);
  // An empty last block.
  end.writeUInt16LE(3, 0);
  end.writeUInt32LE(sum, 2);
  end.writeUInt32LE(size % 2 ** 32, 6);
  yield end;
}

/** The same bytes in pieces of one size; copies, because the compression goes on while others come. */
async function* blocksOf(content: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  let block = Buffer.allocUnsafe(blockBytes);
  let filled = 0;
  for await (const bytes of content) {
    for (let at = 0; at < bytes.length; ) {
      const copied = bytes.copy(block, filled, at);
      at += copied;
      filled += copied;
      if (filled < blockBytes) continue;
      yield block;
      block = Buffer.allocUnsafe(blockBytes);
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}

/**
 * xz as a user that can open the output and nothing else. Two threads at least: with one, the form of the blocks is another,
 * so that the result would depend on the worker's processors.
 */
async function compressByXz(path: string, content: AsyncIterable<Buffer>, options: CompressOptions): Promise<void> {
  const { xzPreset, xzThreads, unprivilegedIds, signal } = options;
  await using lent = await lendToNewUser({ output: { path, writable: true } }, unprivilegedIds);
  const { names, descriptors, user } = lent;
  const command = 'exec xz --compress --stdout --format=xz --check=crc64 "-$1" "--threads=$2" > "$0"';
  const failed = new AbortController();
  // An error of the content ends xz; it is the one to throw.
  async function* watched() {
    try {
      yield* content;
    } catch (error) {
      failed.abort(error);
      throw error;
    }
  }
  try {
    await exec('sh', ['-c', command, names.output, `${xzPreset}`, `${Math.max(2, xzThreads)}`], {
      ...{ user, signal: AbortSignal.any([signal, failed.signal]), inherited: descriptors },
      input: Readable.from(watched(), { objectMode: false }),
    });
  } catch (error) {
    failed.signal.throwIfAborted();
    if (error instanceof ExecError && saysNoSpace(error.stderr)) {
      throw new ImageBuilderError('disk.full', 'no space was left to compress the image', { cause: error });
    }
    throw error;
  }
}
