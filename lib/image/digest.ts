import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Checksums } from '../api/image-result.ts';
import { onAbort } from '../async.ts';

export interface HashOptions {
  readonly signal?: AbortSignal;
  /** Called now and then with the number of bytes that are done. */
  readonly onProgress?: (currentBytes: number, totalBytes: number) => void;
}

export interface FileDigests {
  readonly sizeBytes: number;
  readonly checksums: Checksums;
}

export interface ToDigestThread {
  readonly path: string;
  readonly algorithm: keyof Checksums;
}

export interface FromDigestThread {
  readonly currentBytes: number;
  /** Hexadecimal, in the last message. */
  readonly digest: string | null;
}

/**
 * Size and digests of a file, each digest in a thread of its own: they take a second per gigabyte and more. Throws the
 * reason of `signal`, and Node's own errors where the file cannot be read.
 */
export async function hashFile(path: string, { signal, onProgress }: HashOptions = {}): Promise<FileDigests> {
  signal?.throwIfAborted();
  const { size: totalBytes } = await stat(path);
  // The slower digest reports the progress.
  const onBytes = (currentBytes: number) => onProgress?.(currentBytes, totalBytes);
  const [sha256, sha512] = await Promise.all([
    digestInThread({ path, algorithm: 'sha256' }, signal),
    digestInThread({ path, algorithm: 'sha512' }, signal, onBytes),
  ]);
  return { sizeBytes: sha512.sizeBytes, checksums: { sha256: sha256.digest, sha512: sha512.digest } };
}

async function digestInThread(
  job: ToDigestThread,
  signal: AbortSignal | undefined,
  onBytes?: (currentBytes: number) => void,
): Promise<{ readonly sizeBytes: number; readonly digest: string }> {
  const thread = new Worker(join(import.meta.dirname, 'digest-thread.ts'), { workerData: job });
  const stop = () => void thread.terminate();
  using _listener = onAbort(signal, stop);
  return await new Promise((resolve, reject) => {
    thread.on('message', ({ currentBytes, digest }: FromDigestThread) => {
      onBytes?.(currentBytes);
      if (digest !== null) resolve({ sizeBytes: currentBytes, digest });
    });
    thread.once('error', reject);
    thread.once('exit', () => reject(signal?.reason ?? new Error(`${job.algorithm} has not been computed`)));
  });
}
