import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type AnsweringThread, startAnsweringThread } from './answering-thread.ts';
import { chunkBytes, type FileRange, readRanges, sizeOfRanges } from './copy-range.ts';

/** The algorithm of a thread, and the memory in which the bytes come. */
export interface HashJob {
  readonly algorithm: string;
  readonly memory: SharedArrayBuffer;
}

/** A place in that memory. */
export interface HashPiece {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

export interface HashRangesOptions {
  readonly signal: AbortSignal;
  /**
   * Gets each chunk, and its place in what the ranges hold together, while threads hash it. The next one comes when the
   * result has resolved; the chunk is valid until then.
   */
  readonly onChunk?: (chunk: Buffer, atBytes: number) => void | Promise<void>;
}

/** Chunks that are read while the slowest thread still hashes earlier ones. */
const chunksAhead = 4;
/** A thread takes some 35 ms of the processor to start, in which SHA-256 of so many bytes is computed where processors help. */
const fewBytes = 64 * 2 ** 20;

/**
 * Digests in hexadecimal, by each algorithm, of ranges one behind the other. The bytes are read once for all of them; of
 * larger ranges, each digest is computed by a thread of its own: they take a second per gigabyte and more. Throws as
 * `readRanges` and `onChunk` do.
 */
export async function hashRanges<Algorithm extends string>(
  ranges: readonly FileRange[],
  algorithms: ReadonlySet<Algorithm>,
  { signal, onChunk }: HashRangesOptions,
): Promise<ReadonlyMap<Algorithm, string>> {
  const inThreads = sizeOfRanges(ranges) > fewBytes && algorithms.size > 0;
  await using hashing = inThreads ? hashInThreads([...algorithms], signal) : hashHere([...algorithms]);
  let atBytes = 0;
  for await (const chunk of readRanges(ranges, signal, hashing.room)) {
    const hashed = hashing.add(chunk);
    await onChunk?.(chunk, atBytes);
    atBytes += chunk.length;
    await hashed;
  }
  const digests = await hashing.digests();
  return new Map([...algorithms].map((algorithm, index) => [algorithm, digests[index] ?? '']));
}

interface Hashing extends AsyncDisposable {
  /** Memory for the next chunk. */
  room(): Promise<Buffer>;
  /** Adds the bytes at the start of that memory. Resolves when the next chunk may be read. */
  add(chunk: Buffer): Promise<void>;
  digests(): Promise<readonly string[]>;
}

function hashHere(algorithms: readonly string[]): Hashing {
  const hashes = algorithms.map((algorithm) => createHash(algorithm));
  const buffer = Buffer.allocUnsafe(chunkBytes);
  return {
    room: async () => buffer,
    async add(chunk) {
      for (const hash of hashes) hash.update(chunk);
    },
    digests: async () => hashes.map((hash) => hash.digest('hex')),
    async [Symbol.asyncDispose]() {},
  };
}

function hashInThreads(algorithms: readonly string[], signal: AbortSignal): Hashing {
  const memory = new SharedArrayBuffer(chunksAhead * chunkBytes);
  const threads = algorithms.map((algorithm) => startThread({ algorithm, memory }, signal));
  /** For each place in the memory, the end of all work on the chunk that it holds. */
  const done: Promise<unknown>[] = [];
  let count = 0;
  return {
    async room() {
      await done[count % chunksAhead];
      return Buffer.from(memory, (count % chunksAhead) * chunkBytes, chunkBytes);
    },
    async add({ length: sizeBytes }) {
      const place = count++ % chunksAhead;
      const piece: HashPiece = { offsetBytes: place * chunkBytes, sizeBytes };
      const hashed = Promise.all(threads.map((thread) => thread.ask(piece)));
      // Awaited before the place is used again.
      hashed.catch(() => undefined);
      done[place] = hashed;
    },
    digests: async () => await Promise.all(threads.map((thread) => thread.ask(null))),
    async [Symbol.asyncDispose]() {
      for (const thread of threads) await thread[Symbol.asyncDispose]();
    },
  };
}

/** Starts a thread that answers each piece, and then null with its digest. */
function startThread(job: HashJob, signal: AbortSignal): AnsweringThread<HashPiece | null, string> {
  const path = join(import.meta.dirname, 'hash-thread.js');
  return startAnsweringThread({ path, workerData: job, signal, lost: `${job.algorithm} has not been computed` });
}
