import { join } from 'node:path';
import { type AnsweringThread, startAnsweringThread } from '../../answering-thread.ts';

/** The file and the method for a thread that compresses. */
export interface CompressJob {
  /** The file that holds the pieces. */
  readonly path: string;
  /** Of the image that the result is for. */
  readonly clusterSizeBytes: number;
  readonly method: 'zlib' | 'zstd';
}

/** Bytes in the file, which make one cluster or several. */
export interface StoredPiece {
  readonly hostOffset: number;
  readonly sizeBytes: number;
}

export interface CompressedBatch {
  /** Bytes of each cluster in `data`: 0 where it is zero, the size of a cluster where it does not become smaller. */
  readonly lengths: readonly number[];
  /** All of the clusters, one after the other; the rest has no meaning. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/** Batches that a thread has before it, so that it need not wait for this one. */
const batchesPerThread = 2;

/**
 * Compresses batches in threads, and gives them back in their order, each together with its answer. Memory is bounded:
 * some batches for each thread. Throws the reason of `signal`, and errors of reading.
 */
export async function* compressBatches<Batch extends { readonly pieces: readonly StoredPiece[] }>(
  batches: AsyncIterable<Batch>,
  job: CompressJob,
  threadCount: number,
  signal: AbortSignal,
): AsyncGenerator<{ readonly batch: Batch; readonly compressed: CompressedBatch }, void, undefined> {
  await using stack = new AsyncDisposableStack();
  const threads = Array.from({ length: threadCount }, () => stack.use(startThread(job, signal)));
  const running: { readonly batch: Batch; readonly compressed: Promise<CompressedBatch> }[] = [];
  const first = async () => {
    const [next] = running.splice(0, 1);
    return next && { batch: next.batch, compressed: await next.compressed };
  };
  let sent = 0;
  for await (const batch of batches) {
    const compressed = threads[sent++ % threadCount]?.ask(batch.pieces);
    if (compressed === undefined) throw new RangeError('there is no thread');
    // Awaited below; by then, an earlier one may have failed.
    compressed.catch(() => undefined);
    running.push({ batch, compressed });
    if (running.length < threadCount * batchesPerThread) continue;
    const done = await first();
    if (done !== undefined) yield done;
  }
  for (let done = await first(); done !== undefined; done = await first()) yield done;
}

function startThread(job: CompressJob, signal: AbortSignal): AnsweringThread<readonly StoredPiece[], CompressedBatch> {
  const path = join(import.meta.dirname, 'compress-thread.ts');
  return startAnsweringThread({ path, workerData: job, signal, lost: 'a thread that compresses has ended' });
}
