import { basename } from 'node:path';
import { runOf } from '../../iso9660/read-file.ts';
import type { SquashfsLimits } from '../../squashfs/open.ts';
import type { KnownLayers } from './known-layers.ts';
import { type NewKernels, writeNewKernels } from './new-kernel.ts';
import type { NewLayer } from './new-layer.ts';
import { openLayers } from './open-layers.ts';
import type { BaseMedium } from './read-medium.ts';

/**
 * The kernels that a medium boots after a change of its layers, by those of each live session that the change concerns:
 * the old layers, and the packed changes over them.
 * Throws as `writeNewKernels` and `openLayers` do.
 */
export async function newKernels(
  { path: mediumPath, iso, medium }: BaseMedium,
  layers: readonly NewLayer[],
  directory: string,
  limits: SquashfsLimits,
  known: KnownLayers,
): Promise<NewKernels> {
  const changed = new Set(layers.map(({ placed }) => placed.layer));
  const live = medium.views
    .filter((view) => view.live && view.layers.some((layer) => changed.has(layer)))
    .toSorted((one, other) => one.layers.length - other.layers.length);
  const old = [...new Set(live.flatMap((view) => view.layers))];
  const now = layers.filter(({ placed }) => old.includes(placed.layer));
  const files = [
    ...old.map((layer) => ({ path: mediumPath, ...runOf(iso.files, layer) })),
    ...now.map(({ file }) => file),
  ];
  await using opened = await openLayers(files, limits, known);
  const layerOf = new Map(old.map((name, index) => [name, opened.layers[index]]));
  const deltaOf = new Map(now.map(({ placed }, index) => [placed.layer, opened.layers[old.length + index]]));
  const stack = (names: readonly string[], isChanged: boolean) =>
    names.flatMap((name) => [layerOf.get(name), isChanged ? deltaOf.get(name) : undefined]).filter((layer) => !!layer);
  const systems = live.map((view) => ({
    topLayer: basename(view.layers.at(-1) ?? ''),
    before: stack(view.layers, false),
    after: stack(view.layers, true),
  }));
  return await writeNewKernels({ mediumPath, files: iso.files, systems, directory, limits });
}
