import { type ErrorCode, ImageBuilderError } from '../errors.ts';
import { type BaseImage, forgetDamagedImage } from '../fetch/base-image.ts';
import { forgetBaseCopies } from './base-copy.ts';
import type { BuildTools } from './context.ts';

/** Resolves, and throws, as `work` does. Makes the next build download damaged files again. */
export async function forgettingDamage<Value>(
  files: readonly BaseImage[],
  { cacheDirectory, imageCacheBytes }: BuildTools['settings'],
  work: () => Promise<Value>,
): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ImageBuilderError && damageCodes.includes(error.code)) {
      // Of the archives of a release, the error may be about any.
      for (const file of files) await forgetDamagedImage(file, { cacheDirectory, cacheBytes: imageCacheBytes });
      await forgetBaseCopies(files, { cacheDirectory, imageCacheBytes });
    }
    throw error;
  }
}

const damageCodes: readonly ErrorCode[] = ['image.corrupt', 'image.truncated'];
