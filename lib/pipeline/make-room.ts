import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openCache } from '../fetch/cache.ts';
import { finishedFolder } from './finished-builds.ts';
import { layersFolder } from './layer-store.ts';

/** Drops unused files from the caches in a folder until so many bytes are free: of finished images, layers, packages, then base images. */
export async function makeRoomInCaches(cacheDirectory: string, bytes: number): Promise<number> {
  // On a full disk no folder can be made.
  const there: readonly string[] = await readdir(cacheDirectory).catch(() => []);
  let freedBytes = 0;
  for (const name of [finishedFolder, layersFolder, 'packages', 'images']) {
    if (freedBytes >= bytes) break;
    if (!there.includes(name)) continue;
    const cache = await openCache(join(cacheDirectory, name), Number.POSITIVE_INFINITY);
    freedBytes += await cache.makeRoom(bytes - freedBytes);
  }
  return freedBytes;
}
