import { type ErrorCode, ImageBuilderError } from '../errors.ts';
import { type BaseImage, forgetDamagedImage } from '../fetch/base-image.ts';
import type { BuildTools } from './context.ts';

/** Resolves, and throws, as `work` does. Makes the next build download a damaged base image again. */
export async function forgettingDamage<Value>(
  base: BaseImage,
  { cacheDirectory, imageCacheBytes }: BuildTools['settings'],
  work: () => Promise<Value>,
): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ImageBuilderError && damageCodes.includes(error.code)) {
      await forgetDamagedImage(base, { cacheDirectory, cacheBytes: imageCacheBytes });
    }
    throw error;
  }
}

const damageCodes: readonly ErrorCode[] = ['image.corrupt', 'image.truncated'];
