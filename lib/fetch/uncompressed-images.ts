import { open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isNodeError } from '../errors.ts';
import { tryLock } from '../lock.ts';
import { type FileCache, openCache } from './cache.ts';
import { addOwnFile, digestOfKey, leftoverAgeMs } from './own-file.ts';

/**
 * Copies of base images without compression, raw with holes, that guests open in the place of these: to inflate clusters again
 * for every build takes a tenth of its time. They are files of the worker's own, named by a digest of their key: to hash
 * their content would take longer than to make them. All of them can be made again, so they get only the room that base
 * images leave in their cache.
 */

/** The folders of the cache for base images, and for their uncompressed copies. */
export const imagesFolder = 'images';
export const uncompressedFolder = 'uncompressed';

export interface ImageCacheOptions {
  readonly cacheDirectory: string;
  /** The limit of base images, with their uncompressed copies. */
  readonly cacheBytes: number;
}

/** A copy that only this build makes. Disposing gives it up, unless it is kept. */
export interface NewCopy extends AsyncDisposable {
  /** A path in the cache, where nothing is. */
  readonly path: string;
  /** Puts the written copy into the cache. Its content must be on the disk. */
  keep(): Promise<void>;
}

/** Links the copy of a base image to `target`, a path that does not exist. False where there is none that can be linked. */
export async function takeUncompressed(sha256: string, target: string, options: ImageCacheOptions): Promise<boolean> {
  const cache = await openCopies(options);
  const { url, blob } = namesOf(sha256);
  return (await cache.find(url)) !== null && (await cache.linkTo(blob, target, { linkOnly: true }));
}

export interface CopyWish extends ImageCacheOptions {
  /** Of the base image. */
  readonly sha256: string;
  /** Bytes that the copy will take on the disk. */
  readonly storedBytes: number;
  /** Whether the copies of other base images, those not used for longest, may go for it. */
  readonly mayReplace: boolean;
  readonly workDirectory: string;
  /** Whether the disk has the room. */
  readonly hasRoom: () => Promise<boolean>;
}

/**
 * Begins a copy. Null where it would not fit into the cache or on the disk, where no link to it could be made in the work
 * directory, or while another build makes one, or has just made this one.
 */
export async function beginUncompressed(wish: CopyWish): Promise<NewCopy | null> {
  const { sha256, storedBytes, mayReplace, workDirectory } = wish;
  const cache = await openCopies(wish);
  const takenBytes = mayReplace ? 0 : await cache.usedBytes();
  if (takenBytes + storedBytes > (await roomOf(wish))) return null;
  const folder = join(wish.cacheDirectory, uncompressedFolder);
  const [there, here] = await Promise.all([stat(folder), stat(workDirectory)]);
  if (there.dev !== here.dev) return null;
  await using opened = new AsyncDisposableStack();
  const making = await tryLock(join(folder, 'making'));
  if (making === null) return null;
  opened.use(making);
  if ((await cache.find(namesOf(sha256).url)) !== null) return null;
  const path = unfinishedPath(cache);
  // A killed worker has left it.
  await rm(path, { force: true });
  if (!(await wish.hasRoom())) return null;
  opened.defer(() => rm(path, { force: true }));
  const kept = opened.move();
  return {
    path,
    async keep() {
      const { url, blob } = namesOf(sha256);
      const { size: sizeBytes } = await stat(path);
      await addOwnFile(cache, path, { url, sizeBytes, sha256: blob });
      await limitUncompressedImages(wish);
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/**
 * Removes the copy that is being written, or that a killed worker has left: a build needs its room. Returns the bytes that are
 * free again.
 */
export async function dropUnfinished({ cacheDirectory }: Pick<ImageCacheOptions, 'cacheDirectory'>): Promise<number> {
  const cache = await openCopies({ cacheDirectory });
  const path = unfinishedPath(cache);
  try {
    await using file = await open(path, 'r+');
    await rm(path);
    const { nlink, blocks } = await file.stat();
    // Else the worker that writes it has just moved it into the cache.
    if (nlink > 0) return 0;
    // That worker has it open, and gives it up no sooner than it notices.
    await file.truncate(0);
    return blocks * 512;
  } catch (error) {
    if (isNodeError(error) && error.code === 'ENOENT') return 0;
    throw error;
  }
}

/** Forgets the copy of a base image. */
export async function forgetUncompressed(sha256: string, options: ImageCacheOptions): Promise<void> {
  const cache = await openCopies(options);
  const { url, blob } = namesOf(sha256);
  await cache.forget(url);
  await cache.drop(blob);
}

/** Drops copies, the least recently used first, until base images and copies together hold their limit. */
export async function limitUncompressedImages(options: ImageCacheOptions): Promise<void> {
  const cache = await openCopies(options, await roomOf(options));
  await cache.evict();
}

/** Bytes that base images leave for copies. */
async function roomOf({ cacheDirectory, cacheBytes }: ImageCacheOptions): Promise<number> {
  const images = await openCache(join(cacheDirectory, imagesFolder), cacheBytes);
  return Math.max(0, cacheBytes - (await images.usedBytes()));
}

async function openCopies(
  { cacheDirectory }: Pick<ImageCacheOptions, 'cacheDirectory'>,
  maximumBytes = 0,
): Promise<FileCache> {
  return await openCache(join(cacheDirectory, uncompressedFolder), maximumBytes, leftoverAgeMs);
}

/** One copy is written at a time, always here. */
const unfinishedPath = (cache: FileCache) => cache.partPath('copy');

function namesOf(sha256: string): { readonly url: string; readonly blob: string } {
  const url = `uncompressed ${sha256}`;
  return { url, blob: digestOfKey(url) };
}
