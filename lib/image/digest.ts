import { open } from 'node:fs/promises';
import type { Checksums } from '../api/image-result.ts';
import { hashRanges } from './hash-ranges.ts';

export interface HashOptions {
  readonly signal?: AbortSignal;
  /** Called now and then with the number of bytes that are done. */
  readonly onProgress?: (currentBytes: number, totalBytes: number) => void;
}

export interface FileDigests {
  readonly sizeBytes: number;
  readonly checksums: Checksums;
}

/** The digests that a file of the store has. */
export const checksumAlgorithms: ReadonlySet<keyof Checksums> = new Set(['sha256', 'sha512']);

/** Size and digests of a file. Throws as `hashRanges` does, and Node's own errors where the file cannot be read. */
export async function hashFile(
  path: string,
  { signal = new AbortController().signal, onProgress }: HashOptions = {},
): Promise<FileDigests> {
  signal.throwIfAborted();
  await using handle = await open(path, 'r');
  const { size: sizeBytes } = await handle.stat();
  const digests = await hashRanges([{ handle, offsetBytes: 0, sizeBytes }], checksumAlgorithms, {
    signal,
    onChunk: (chunk, atBytes) => onProgress?.(atBytes + chunk.length, sizeBytes),
  });
  return { sizeBytes, checksums: checksumsOf(digests) };
}

/** The digests by `checksumAlgorithms` as results have them. */
export function checksumsOf(digests: ReadonlyMap<string, string>): Checksums {
  return { sha256: digests.get('sha256') ?? '', sha512: digests.get('sha512') ?? '' };
}
