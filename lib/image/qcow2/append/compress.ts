import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { startAnsweringThread } from '../../answering-thread.ts';

/** The file and the method for a thread that compresses. */
export interface CompressJob {
  /** The file that holds the pieces. */
  readonly path: string;
  /** Of the image that the result is for. */
  readonly clusterSizeBytes: number;
  readonly method: 'zlib' | 'zstd';
  /** Bytes of the largest batch, in whole clusters. */
  readonly batchBytes: number;
}

/** Bytes in the file, which make one cluster or several. */
export interface StoredPiece {
  readonly hostOffset: number;
  readonly sizeBytes: number;
}

export interface CompressedBatch {
  /** Bytes of each cluster in `data`: 0 where it is zero, the size of a cluster where it does not become smaller. */
  readonly lengths: readonly number[];
  /** All of the clusters, one after the other; the rest has no meaning. Valid until the next batch is asked for. */
  readonly data: Uint8Array;
}

/** The job of one thread, with the memory for its results. */
export interface ThreadJob extends CompressJob {
  readonly memory: SharedArrayBuffer;
}

/** A batch, and the place in that memory for its result. */
export interface ThreadBatch {
  readonly pieces: readonly StoredPiece[];
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** Threads that compress the clusters of one file. Disposing ends them. */
export interface Compressor extends AsyncDisposable {
  /**
   * Compresses batches, and gives them back in their order, each together with its answer. For one use. Throws the reason of
   * the compressor's signal, and errors of reading.
   */
  compress<Batch extends { readonly pieces: readonly StoredPiece[] }>(
    batches: AsyncIterable<Batch>,
  ): AsyncGenerator<{ readonly batch: Batch; readonly compressed: CompressedBatch }, void, undefined>;
}

/** Batches that a thread has before it, so that it need not wait for this one. */
const batchesPerThread = 2;
/** Starting a thread takes as long as compressing some of this. */
const bytesPerThread = 8 * 1024 * 1024;

/**
 * Starts as many threads as `dataBytes` are worth, which takes them a moment. Memory is bounded: some batches for each
 * thread. Throws the reason of the signal.
 */
export async function startCompressor(job: CompressJob, dataBytes: number, signal: AbortSignal): Promise<Compressor> {
  const count = Math.max(1, Math.min(8, availableParallelism(), Math.ceil(dataBytes / bytesPerThread)));
  await using starting = new AsyncDisposableStack();
  const threads = Array.from({ length: count }, () => starting.use(startThread(job, signal)));
  const stack = starting.move();
  return {
    compress: (batches) => compressBatches(batches, threads),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function* compressBatches<Batch extends { readonly pieces: readonly StoredPiece[] }>(
  batches: AsyncIterable<Batch>,
  threads: readonly Compress[],
): AsyncGenerator<{ readonly batch: Batch; readonly compressed: CompressedBatch }, void, undefined> {
  const running: { readonly batch: Batch; readonly compressed: Promise<CompressedBatch> }[] = [];
  const first = async () => {
    const [next] = running.splice(0, 1);
    return next && { batch: next.batch, compressed: await next.compressed };
  };
  let sent = 0;
  for await (const batch of batches) {
    const thread = threads[sent % threads.length];
    if (thread === undefined) throw new RangeError('there is no thread');
    // The batch that had this place before has been given back, and is stored by now.
    const compressed = thread(batch.pieces, Math.floor(sent / threads.length) % batchesPerThread);
    sent += 1;
    // Awaited below; by then, an earlier one may have failed.
    compressed.catch(() => undefined);
    running.push({ batch, compressed });
    if (running.length < threads.length * batchesPerThread) continue;
    const done = await first();
    if (done !== undefined) yield done;
  }
  for (let done = await first(); done !== undefined; done = await first()) yield done;
}

type Compress = (pieces: readonly StoredPiece[], place: number) => Promise<CompressedBatch>;

/**
 * Starts a thread, and returns the function that compresses by it. The results lie in memory that all of its batches share:
 * new memory for each would have V8 look for garbage, and would stay with the process afterwards.
 */
function startThread(job: CompressJob, signal: AbortSignal): Compress & AsyncDisposable {
  const path = join(import.meta.dirname, 'compress-thread.js');
  const { batchBytes } = job;
  const memory = new SharedArrayBuffer(batchesPerThread * batchBytes);
  const workerData: ThreadJob = { ...job, memory };
  const lost = 'a thread that compresses has ended';
  const thread = startAnsweringThread<ThreadBatch, readonly number[]>({ path, workerData, signal, lost });
  const compress: Compress = async (pieces, place) => {
    const offsetBytes = place * batchBytes;
    const lengths = await thread.ask({ pieces, offsetBytes, sizeBytes: batchBytes });
    return { lengths, data: new Uint8Array(memory, offsetBytes, batchBytes) };
  };
  return Object.assign(compress, { [Symbol.asyncDispose]: () => thread[Symbol.asyncDispose]() });
}
