import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { runOf } from '../../iso9660/read-file.ts';
import type { Squashfs, SquashfsLimits } from '../../squashfs/open.ts';
import { type NewKernels, writeNewKernels } from './new-kernel.ts';
import type { NewLayer } from './new-layer.ts';
import { openLayers } from './open-layers.ts';
import type { BaseMedium } from './read-medium.ts';

/**
 * The kernels that a medium boots after a change of its layers, by those of each live session that the change concerns.
 * Throws as `writeNewKernels` and `openLayers` do.
 */
export async function newKernels(
  { path: mediumPath, iso, medium }: BaseMedium,
  layers: readonly NewLayer[],
  directory: string,
  limits: SquashfsLimits,
): Promise<NewKernels> {
  const changed = new Set(layers.map(({ placed }) => placed.layer));
  const live = medium.views
    .filter((view) => view.live && view.layers.some((layer) => changed.has(layer)))
    .toSorted((one, other) => one.layers.length - other.layers.length);
  const old = [...new Set(live.flatMap((view) => view.layers))];
  await using before = await openLayers(
    old.map((layer) => ({ path: mediumPath, ...runOf(iso.files, layer) })),
    limits,
  );
  const now = layers.filter(({ placed }) => old.includes(placed.layer));
  const files = now.map(async ({ path }) => ({ path, offsetBytes: 0, sizeBytes: (await stat(path)).size }));
  await using after = await openLayers(await Promise.all(files), limits);
  const was = new Map(old.map((layer, index) => [layer, before.layers[index]]));
  const is = new Map([...was, ...now.map(({ placed }, index) => [placed.layer, after.layers[index]] as const)]);
  const stack = (names: readonly string[], of: typeof was) =>
    names.flatMap((name): Squashfs[] => {
      const layer = of.get(name);
      return layer === undefined ? [] : [layer];
    });
  const systems = live.map((view) => ({
    topLayer: basename(view.layers.at(-1) ?? ''),
    before: stack(view.layers, was),
    after: stack(view.layers, is),
  }));
  return await writeNewKernels({ mediumPath, files: iso.files, systems, directory, limits });
}
