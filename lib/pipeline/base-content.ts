import { ImageBuilderError, messageOf } from '../errors.ts';
import { type BaseImage, recordSoundImage } from '../fetch/base-image.ts';
import type { NewCopy } from '../fetch/uncompressed-images.ts';
import type { CopiedContent } from '../image/qcow2/content.ts';
import type { InspectedImage } from '../kinds/kind.ts';
import type { BuildTools, LimitedContext } from './context.ts';

/** The content of a base image, which is read once beside the other work of the first build that uses it. */
export interface BaseContent extends AsyncDisposable {
  /** Resolves when all of it has been read. Throws `image.corrupt` for damage, or the reason of the signal. */
  whole(): Promise<void>;
  /** The error as it is, or the damage, where there is any: whatever reads it inside the image fails in its own words. */
  explain(thrown: unknown): Promise<unknown>;
}

/**
 * Starts to read, unless an earlier build has, or a copy is to be made. Disposing stops it; after `whole` it waits until the
 * copy is in the cache.
 */
export function readBaseContent(
  base: BaseImage,
  inspected: Pick<InspectedImage, 'readContent' | 'uncompressed'>,
  newCopy: NewCopy | undefined,
  { cacheDirectory, imageCacheBytes }: Pick<BuildTools['settings'], 'cacheDirectory' | 'imageCacheBytes'>,
  { signal, log }: Pick<LimitedContext, 'signal' | 'log'>,
): BaseContent {
  const closing = new AbortController();
  const stopped = AbortSignal.any([signal, closing.signal]);
  const copying = newCopy && inspected.uncompressed?.copy(newCopy.path, stopped);
  const read = async () => {
    if (base.isSound) return;
    await (copying?.checked ?? inspected.readContent(stopped));
    // Where that fails, the next build reads it once more.
    await recordSoundImage(base, { cacheDirectory, cacheBytes: imageCacheBytes }).catch(() => undefined);
  };
  const reading: Promise<{ readonly failed: boolean; readonly reason?: unknown }> = read().then(
    () => ({ failed: false }),
    (reason: unknown) => ({ failed: true, reason }),
  );
  const keep = async ({ copied }: CopiedContent) => {
    try {
      const obstacle = await copied;
      if (obstacle === null) await newCopy?.keep();
      else log.warn('the base image gets no uncompressed copy', { reason: obstacle });
    } catch (error) {
      if (!stopped.aborted) log.warn('the base image gets no uncompressed copy', { reason: messageOf(error) });
    } finally {
      // At once: the disk may be full.
      await newCopy?.[Symbol.asyncDispose]();
    }
  };
  const keeping = copying && keep(copying);
  let isWhole = false;
  return {
    async whole() {
      const { failed, reason } = await reading;
      if (failed) throw reason;
      isWhole = true;
    },
    async explain(thrown) {
      const { reason } = await reading;
      return reason instanceof ImageBuilderError && reason.code === 'image.corrupt' ? reason : thrown;
    },
    async [Symbol.asyncDispose]() {
      if (!isWhole) closing.abort();
      await reading;
      await keeping;
    },
  };
}
