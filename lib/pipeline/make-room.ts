import { join } from 'node:path';
import { openCache } from '../fetch/cache.ts';

/** Drops unused files from the caches in a folder until so many bytes are free; packages go before base images. */
export async function makeRoomInCaches(cacheDirectory: string, bytes: number): Promise<number> {
  let freedBytes = 0;
  for (const name of ['packages', 'images']) {
    if (freedBytes >= bytes) break;
    const cache = await openCache(join(cacheDirectory, name), Number.POSITIVE_INFINITY);
    freedBytes += await cache.makeRoom(bytes - freedBytes);
  }
  return freedBytes;
}
