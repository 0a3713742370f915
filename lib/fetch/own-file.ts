import type { CacheEntry, FileCache } from './cache.ts';

/** A file that this worker has made itself, under a key in the place of a URL. */
export type OwnFile = Pick<CacheEntry, 'url' | 'sizeBytes' | 'sha256'>;

/** Moves such a file from its place among the unfinished ones, `FileCache.partPath`, into the cache. Throws as `add` does. */
export async function addOwnFile(cache: FileCache, part: string, file: OwnFile): Promise<void> {
  const served = { etag: null, lastModified: null, origin: '', secure: true, validatedAtMs: Date.now() };
  await cache.add(part, { ...file, ...served });
}
