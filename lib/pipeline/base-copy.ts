import { join } from 'node:path';
import { messageOf } from '../errors.ts';
import type { BaseImage } from '../fetch/base-image.ts';
import { beginUncompressed, forgetUncompressed, type NewCopy, takeUncompressed } from '../fetch/uncompressed-images.ts';
import type { InspectedImage } from '../kinds/kind.ts';
import type { BuildTools, LimitedContext } from './context.ts';

/** The uncompressed copy of a base image that the cache has, or that this build makes beside its other work. */
export interface BaseCopy {
  /** Path of the one that is there, in the work directory. */
  readonly path?: string;
  /** The one that is to be written. */
  readonly begun?: NewCopy;
}

type CacheSettings = Pick<BuildTools['settings'], 'cacheDirectory' | 'imageCacheBytes'>;

/** In the work directory. */
const fileName = 'uncompressed.raw';

/** Room that is left for other builds beside a copy, in copies. */
const spareCopies = 1;

/**
 * Looks for the copy of a base image, and begins it where there is none, and enough room. Builds go on without one where
 * that fails.
 */
export async function findBaseCopy(
  { sha256, isSound }: BaseImage,
  { uncompressed, size }: Pick<InspectedImage, 'uncompressed' | 'size'>,
  { cacheDirectory, imageCacheBytes }: CacheSettings,
  workDirectory: string,
  { space, log, reporter }: Pick<LimitedContext, 'space' | 'log' | 'reporter'>,
): Promise<BaseCopy> {
  if (uncompressed === undefined) return {};
  const { storedBytes } = uncompressed;
  const cache = { cacheDirectory, cacheBytes: imageCacheBytes };
  const path = join(workDirectory, fileName);
  try {
    if (await takeUncompressed(sha256, path, cache)) {
      reporter.log('the image is opened over the uncompressed copy of its base image that the cache has');
      return { path };
    }
    const { cache: others, ...needs } = space.plan.beforeChange(size, null);
    const hasRoom = () => space.hasRoom({ ...needs, cache: others + storedBytes * (1 + spareCopies) });
    // Base images that were read before have had a copy, unless there was no room: they take turns no more than once.
    const begun = await beginUncompressed({
      ...cache,
      sha256,
      storedBytes,
      mayReplace: !isSound,
      workDirectory,
      hasRoom,
    });
    return begun === null ? {} : { begun };
  } catch (error) {
    log.warn('base images are read without an uncompressed copy', { reason: messageOf(error) });
    return {};
  }
}

/**
 * Links the copy of a base image into the work directory, for one more opening of it. Missing where the cache has none, or a guest
 * has no use for it. Never fails.
 */
export async function takeBaseCopy(
  { sha256 }: BaseImage,
  { uncompressed }: Pick<InspectedImage, 'uncompressed'>,
  { cacheDirectory, imageCacheBytes }: CacheSettings,
  workDirectory: string,
): Promise<string | undefined> {
  if (uncompressed === undefined) return undefined;
  const path = join(workDirectory, fileName);
  const cache = { cacheDirectory, cacheBytes: imageCacheBytes };
  return (await takeUncompressed(sha256, path, cache).catch(() => false)) ? path : undefined;
}

/** Forgets the copies of base images. Never fails. */
export async function forgetBaseCopies(
  images: readonly BaseImage[],
  { cacheDirectory, imageCacheBytes }: CacheSettings,
): Promise<void> {
  for (const { sha256 } of images) {
    await forgetUncompressed(sha256, { cacheDirectory, cacheBytes: imageCacheBytes }).catch(() => undefined);
  }
}
