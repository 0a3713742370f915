import { open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { runOf } from '../../iso9660/read-file.ts';
import type { PlacedLayer } from '../../medium/plan-layers.ts';
import type { Squashfs, SquashfsLimits } from '../../squashfs/open.ts';
import { thinArchive } from '../../squashfs/thin/thin.ts';
import { createView } from '../../squashfs/thin/view.ts';
import type { KnownLayers, LayerFile } from './known-layers.ts';
import { openLayers } from './open-layers.ts';
import { packChanges } from './pack-changes.ts';
import { type InstalledPackages, readPackages } from './package-status.ts';
import type { BaseMedium } from './read-medium.ts';

/** The changes to one layer, packed as a SquashFS to be laid over it. */
export interface LayerDelta {
  readonly placed: PlacedLayer;
  readonly file: LayerFile;
  /** The packages of the file tree that the layer is the uppermost of. */
  readonly packages: PackagesOf;
  /** Those of the file tree below it; empty for a layer that stands on none. */
  readonly packagesBelow: PackagesOf;
}

export interface PackagesOf {
  readonly before: InstalledPackages;
  readonly after: InstalledPackages;
}

export interface TakeOptions {
  readonly base: BaseMedium;
  readonly placed: PlacedLayer;
  /** Those of the layers below, among others. */
  readonly deltas: readonly LayerDelta[];
  /** The tar of the changes, which is removed. */
  readonly changesPath: string;
  /** An existing folder that only this build uses. */
  readonly directory: string;
  readonly limits: SquashfsLimits;
  /** Layers of the base medium. */
  readonly known: KnownLayers;
  /** Largest result of packing the changes. */
  readonly maximumBytes: number;
}

/** The files that show a file tree with the changes made so far: each layer, and above it its delta where it has one. */
function layerFiles(base: BaseMedium, layers: readonly string[], deltas: readonly LayerDelta[]): readonly LayerFile[] {
  return layers.flatMap((layer) => {
    const delta = deltas.find(({ placed }) => placed.layer === layer);
    const own = { path: base.path, ...runOf(base.iso.files, layer) };
    return delta === undefined ? [own] : [own, delta.file];
  });
}

/**
 * Packs the changes that a guest has handed out for one layer, over the layers as they were, without those that the layers
 * below show already with their own changes. Throws as `packChanges`, `thinArchive` and `openLayers` do.
 */
export async function takeChanges(options: TakeOptions): Promise<LayerDelta> {
  const { base, placed, deltas, changesPath, directory, limits, known, maximumBytes } = options;
  const { unprivilegedIds, signal } = limits;
  const { layer, below } = placed;
  const path = join(directory, `changes-${deltas.length}.squashfs`);
  const thinnedPath = join(directory, 'thinned.tar');
  const files = layerFiles(base, [...below, layer], deltas);
  await using lower = await openLayers(files, limits, known);
  const own = lower.layers.at(-1);
  if (own === undefined) throw new RangeError('a layer is one of its own file tree');
  await thinChanges(changesPath, thinnedPath, lower.layers, limits);
  await rm(changesPath);
  await packChanges({
    ...{ changesPath: thinnedPath, deltaPath: path, base: own, maximumBytes, unprivilegedIds, signal },
  });
  await rm(thinnedPath);
  const { size: sizeBytes } = await stat(path);
  const file = { path, offsetBytes: 0, sizeBytes };
  await using above = await openLayers([file], limits);
  const unchanged = lower.layers.filter((_, index) => files[index]?.path === base.path);
  const [packages, packagesBelow] = [
    {
      before: await readPackages(unchanged),
      after: await readPackages([...lower.layers, ...above.layers]),
    },
    { before: await readPackages(unchanged.slice(0, -1)), after: await readPackages(lower.layers.slice(0, -1)) },
  ];
  return { placed, file, packages, packagesBelow };
}

/**
 * Leaves out what the layers show already, which would only take room, and writes the rest so that mksquashfs reads it
 * right: from the headers that GNU tar writes, it takes long targets of links without their leading `../`.
 */
async function thinChanges(
  from: string,
  to: string,
  layers: readonly Squashfs[],
  limits: SquashfsLimits,
): Promise<void> {
  await using handle = await open(from, 'r');
  await using output = await open(to, 'wx');
  const { size: length } = await handle.stat();
  const { maximumInodes: maximumEntries, unprivilegedIds, signal } = limits;
  await thinArchive({ handle, offset: 0, length }, createView(layers), output, {
    ...{ maximumEntries, unprivilegedIds, signal },
  });
}
