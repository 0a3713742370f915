import { createHash } from 'node:crypto';
import type { CacheEntry, FileCache } from './cache.ts';

/** A file that this worker has made itself, under a key in the place of a URL. */
export type OwnFile = Pick<CacheEntry, 'url' | 'sizeBytes' | 'sha256'>;

/**
 * Age at which an unfinished one is swept: its time is that of its last change, and it is moved, copied or written to all the
 * while. An older one is a dead worker's.
 */
export const leftoverAgeMs = 10 * 60_000;

/** In the place of a digest of the content, for files that nobody compares by it: that of the key. */
export const digestOfKey = (key: string) => createHash('sha256').update(key).digest('hex');

/** Moves such a file from its place among the unfinished ones, `FileCache.partPath`, into the cache. Throws as `add` does. */
export async function addOwnFile(cache: FileCache, part: string, file: OwnFile): Promise<void> {
  const served = { etag: null, lastModified: null, origin: '', secure: true, validatedAtMs: Date.now() };
  await cache.add(part, { ...file, ...served });
}
