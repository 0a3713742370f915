import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError, messageOf } from '../../errors.ts';
import { runOf } from '../../iso9660/read-file.ts';
import type { SquashfsLimits } from '../../squashfs/open.ts';
import { spliceSquashfs } from '../../squashfs/splice/splice.ts';
import { openLayers } from './open-layers.ts';
import type { BaseMedium } from './read-medium.ts';
import type { LayerDelta } from './take-changes.ts';

/** A layer with its changes in it. */
export interface NewLayer extends Pick<LayerDelta, 'placed' | 'packages' | 'packagesBelow'> {
  /** A file of the worker. */
  readonly path: string;
  /** Bytes that its files have grown by; fewer than 0 where they have shrunk. */
  readonly grownBytes: number;
}

/**
 * Lays the changes over a layer, by a splice: what is compressed already is copied. The packed changes are removed.
 * `directory` is an existing folder that only this build uses. Throws `image.output` where the result is not a sound
 * SquashFS, and as `spliceSquashfs` does.
 */
export async function writeNewLayer(
  base: BaseMedium,
  delta: LayerDelta,
  directory: string,
  limits: SquashfsLimits,
): Promise<NewLayer> {
  const { placed, packages, packagesBelow, file } = delta;
  const { signal } = limits;
  const name = `/${placed.layer}`;
  const path = join(directory, `layer-${base.plan.indexOf(placed)}.squashfs`);
  await using before = await openLayers([{ path: base.path, ...runOf(base.iso.files, placed.layer) }, file], limits);
  const [layer, changes] = before.layers;
  if (layer === undefined || changes === undefined) throw new RangeError('as many layers are opened as asked for');
  await spliceSquashfs(layer, changes, path, { bottom: placed.below.length === 0, signal });
  await rm(file.path);
  const { size: sizeBytes } = await stat(path);
  await using after = await openLayers([{ path, offsetBytes: 0, sizeBytes }], limits).catch((error: unknown) => {
    signal.throwIfAborted();
    throw new ImageBuilderError('image.output', `the new layer ${name} is damaged: ${messageOf(error)}`, {
      cause: error,
    });
  });
  const grownBytes = (after.layers[0]?.usedBytes ?? 0) - layer.usedBytes;
  return { placed, packages, packagesBelow, path, grownBytes };
}
