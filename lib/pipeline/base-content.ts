import { ImageBuilderError } from '../errors.ts';
import { type BaseImage, recordSoundImage } from '../fetch/base-image.ts';
import type { InspectedImage } from '../kinds/kind.ts';
import type { BuildTools } from './context.ts';

/** The content of a base image, which is read once beside the other work of the first build that uses it. */
export interface BaseContent extends AsyncDisposable {
  /** Resolves when all of it has been read. Throws `image.corrupt` for damage, or the reason of the signal. */
  whole(): Promise<void>;
  /** The error as it is, or the damage, where there is any: whatever reads it inside the image fails in its own words. */
  explain(thrown: unknown): Promise<unknown>;
}

/** Starts to read, unless an earlier build has; disposing stops it. */
export function readBaseContent(
  base: BaseImage,
  inspected: Pick<InspectedImage, 'readContent'>,
  { cacheDirectory, imageCacheBytes }: BuildTools['settings'],
  signal: AbortSignal,
): BaseContent {
  const closing = new AbortController();
  const read = async () => {
    if (base.isSound) return;
    await inspected.readContent(AbortSignal.any([signal, closing.signal]));
    // Where that fails, the next build reads it once more.
    await recordSoundImage(base, { cacheDirectory, cacheBytes: imageCacheBytes }).catch(() => undefined);
  };
  const reading: Promise<{ readonly failed: boolean; readonly reason?: unknown }> = read().then(
    () => ({ failed: false }),
    (reason: unknown) => ({ failed: true, reason }),
  );
  return {
    async whole() {
      const { failed, reason } = await reading;
      if (failed) throw reason;
    },
    async explain(thrown) {
      const { reason } = await reading;
      return reason instanceof ImageBuilderError && reason.code === 'image.corrupt' ? reason : thrown;
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      await reading;
    },
  };
}
