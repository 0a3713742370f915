import { createReadStream } from 'node:fs';
import type { IdRange } from '../../privileges.ts';
import type { Squashfs } from '../../squashfs/open.ts';
import { packArchive } from './mksquashfs.ts';

export interface ChangesOptions {
  /** The tar of the changes, as a guest hands it out; a stranger's. */
  readonly changesPath: string;
  /** A new file. */
  readonly deltaPath: string;
  /** The layer that the changes are to be laid over. */
  readonly base: Pick<Squashfs, 'options' | 'superblock'>;
  /** Largest result. */
  readonly maximumBytes: number;
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

const chunkBytes = 2 ** 20;

/**
 * Packs changes as a SquashFS that fits a layer: with its compressor, options and block size. Throws as `packArchive`
 * does.
 */
export async function packChanges(options: ChangesOptions): Promise<void> {
  const { changesPath, deltaPath, base, maximumBytes, unprivilegedIds, signal } = options;
  await packArchive({
    ...{ archive: createReadStream(changesPath, { highWaterMark: chunkBytes }), outputPath: deltaPath, like: base },
    ...{ maximumBytes, contentBytes: maximumBytes, unprivilegedIds, signal },
  });
}
