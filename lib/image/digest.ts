import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { Checksums } from '../api/event.ts';

export interface HashOptions {
  readonly signal?: AbortSignal;
  /** Told after every chunk how many bytes are done. */
  readonly onProgress?: (currentBytes: number, totalBytes: number) => void;
}

/** A chunk keeps the event loop for some 3 ms; two threads, one per digest, were measured to gain nothing here. */
const chunkBytes = 1024 * 1024;

/**
 * Size and digests of a file, read once. Throws the reason of `signal`, and Node's own errors where the file cannot be
 * read.
 */
export async function hashFile(
  path: string,
  { signal, onProgress }: HashOptions = {},
): Promise<{ sizeBytes: number; checksums: Checksums }> {
  await using handle = await open(path, 'r');
  const { size: totalBytes } = await handle.stat();
  const sha256 = createHash('sha256');
  const sha512 = createHash('sha512');
  const buffer = Buffer.allocUnsafe(chunkBytes);
  let sizeBytes = 0;
  for (;;) {
    signal?.throwIfAborted();
    const { bytesRead } = await handle.read(buffer, 0, chunkBytes, sizeBytes);
    if (bytesRead === 0) break;
    const chunk = buffer.subarray(0, bytesRead);
    sha256.update(chunk);
    sha512.update(chunk);
    sizeBytes += bytesRead;
    onProgress?.(sizeBytes, totalBytes);
  }
  return { sizeBytes, checksums: { sha256: sha256.digest('hex'), sha512: sha512.digest('hex') } };
}
