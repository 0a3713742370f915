import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { runOf } from '../../iso9660/read-file.ts';
import type { SquashfsLimits } from '../../squashfs/open.ts';
import { dataOf, spliceSquashfs } from '../../squashfs/splice/splice.ts';
import type { KnownLayers } from './known-layers.ts';
import { digestRest, type LayerData } from './layer-data.ts';
import { openLayers } from './open-layers.ts';
import type { BaseMedium } from './read-medium.ts';
import type { LayerDelta } from './take-changes.ts';

/** A layer with its changes in it. */
export interface NewLayer extends LayerDelta {
  /** A file of the worker. */
  readonly path: string;
  /** The data that the file lacks; null where it is whole. */
  readonly data: LayerData | null;
  /** Bytes that its files have grown by; fewer than 0 where they have shrunk. */
  readonly grownBytes: number;
}

export interface NewLayerOptions {
  readonly base: BaseMedium;
  readonly delta: LayerDelta;
  /** An existing folder that only this build uses. */
  readonly directory: string;
  /** Write the data of the base too. */
  readonly isWhole: boolean;
  readonly limits: SquashfsLimits;
  /** Layers of the base medium. */
  readonly known: KnownLayers;
}

/**
 * Lays the changes over a layer, by a splice: what is compressed already is copied, or left out to be copied later. Throws
 * as `spliceSquashfs` does.
 */
export async function writeNewLayer(options: NewLayerOptions): Promise<NewLayer> {
  const { base, delta, directory, isWhole, limits, known } = options;
  const { placed, file } = delta;
  const { signal } = limits;
  const path = join(directory, `layer-${base.plan.indexOf(placed)}.squashfs`);
  const own = { path: base.path, ...runOf(base.iso.files, placed.layer) };
  await using before = await openLayers([own, file], limits, known);
  const [layer, changes] = before.layers;
  if (layer === undefined || changes === undefined) throw new RangeError('as many layers are opened as asked for');
  const bottom = placed.below.length === 0;
  const spliced = await spliceSquashfs(layer, changes, path, { bottom, withoutBaseData: !isWhole, signal });
  const grownBytes = spliced.usedBytes - layer.usedBytes;
  if (isWhole) return { ...delta, path, data: null, grownBytes };
  await using handle = await open(path, 'r');
  const { offsetBytes: baseBytes, sizeBytes } = dataOf(layer);
  const place = { restPath: path, baseBytes, offsetBytes: layer.dataStart, sizeBytes, layerBytes: spliced.sizeBytes };
  const written = [{ handle, offsetBytes: 0, sizeBytes: spliced.sizeBytes }];
  const data = { ...place, restDigest: await digestRest(written, place, signal) };
  return { ...delta, path, data, grownBytes };
}
