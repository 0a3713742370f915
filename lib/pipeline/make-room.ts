import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openCache } from '../fetch/cache.ts';
import { dropUnfinished, imagesFolder, uncompressedFolder } from '../fetch/uncompressed-images.ts';
import { statesFolder } from '../guest/vm/saved-states.ts';
import { finishedFolder } from './finished-builds.ts';
import { layersFolder } from './layer-store.ts';

/**
 * Drops unused files from the caches in a folder until so many bytes are free: of uncompressed base images, the unfinished one first, finished
 * images, layers, states of vms, packages, then base images.
 */
export async function makeRoomInCaches(cacheDirectory: string, bytes: number): Promise<number> {
  let freedBytes = 0;
  for (const name of [uncompressedFolder, finishedFolder, layersFolder, statesFolder, 'packages', imagesFolder]) {
    if (freedBytes >= bytes) break;
    const folder = join(cacheDirectory, name);
    // On a full disk no folder can be made.
    if ((await stat(folder).catch(() => null)) === null) continue;
    if (name === uncompressedFolder) freedBytes += await dropUnfinished({ cacheDirectory });
    const cache = await openCache(folder, Number.POSITIVE_INFINITY);
    freedBytes += await cache.makeRoom(bytes - freedBytes);
  }
  return freedBytes;
}
