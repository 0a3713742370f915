import { open } from 'node:fs/promises';
import { ImageBuilderError } from '../../errors.ts';
import { inspectIso } from '../../iso9660/inspect.ts';
import { writeAll } from '../../write-all.ts';
import type { Digests } from './checksum-lists.ts';
import { placeLayerData, type SplicedLayers } from './layer-data.ts';
import type { NewContent } from './new-lists.ts';

export interface FinishOptions {
  readonly mediumPath: string;
  /** The new medium, as `replayMedium` has written it. */
  readonly newPath: string;
  readonly layers: SplicedLayers;
  readonly content: Pick<NewContent, 'layerAlgorithms' | 'finishLists'>;
  readonly signal: AbortSignal;
  /** Called with the finished part, 0 to 1. */
  readonly onProgress: (fraction: number) => void;
}

/**
 * Gives a new medium what it was written without: its layers, and their digests in lists of checksums. The data of the base
 * is read once for both. Resolves with the digests. Throws `image.output` where something on the medium has another size
 * than it was written in, `disk.full`, or the reason of the signal.
 */
export async function finishMedium(options: FinishOptions): Promise<ReadonlyMap<string, Digests>> {
  const { newPath, layers, content, signal } = options;
  if (layers.size === 0) return new Map();
  await using output = await open(newPath, 'r+');
  const { files } = await inspectIso(output, { maximumBytes: Number.MAX_SAFE_INTEGER, signal });
  const digests = await placeLayerData({ ...options, output, files, algorithms: content.layerAlgorithms });
  for (const [path, text] of await content.finishLists(digests)) {
    const bytes = Buffer.from(text, 'latin1');
    const [run, ...more] = files.get(path)?.extents ?? [];
    if ((run?.sizeBytes ?? 0) !== bytes.length || more.length > 0) {
      throw new ImageBuilderError('image.output', `/${path} of the new medium has not the size that it was written in`);
    }
    if (run !== undefined) await writeAll(output, bytes, run.offsetBytes);
  }
  return digests;
}
