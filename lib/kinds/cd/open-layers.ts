import { type FileHandle, open } from 'node:fs/promises';
import { ImageBuilderError } from '../../errors.ts';
import { openSquashfs, reopenSquashfs, type Squashfs, type SquashfsLimits, tableBytes } from '../../squashfs/open.ts';
import type { KnownLayers, LayerFile } from './known-layers.ts';

/** Inspected layers, in the order of their files. Disposing closes the files. */
export interface OpenLayers extends AsyncDisposable {
  readonly layers: readonly Squashfs[];
}

/**
 * Inspects layers, but for those that are `known`, whose tables together may take the memory of `limits` for one. Throws as `openSquashfs` does, with
 * `image.too_large` for too many tables.
 */
export async function openLayers(
  files: readonly LayerFile[],
  limits: SquashfsLimits,
  known: KnownLayers | null = null,
): Promise<OpenLayers> {
  await using stack = new AsyncDisposableStack();
  const handles = new Map<string, FileHandle>();
  const layers: Squashfs[] = [];
  let maximumTableBytes = limits.maximumTableBytes;
  for (const file of files) {
    const { path, offsetBytes: offset, sizeBytes: length } = file;
    const handle = handles.get(path) ?? stack.use(await open(path, 'r'));
    handles.set(path, handle);
    const region = { handle, offset, length };
    const before = known?.find(file) ?? null;
    const layer =
      before === null
        ? await openSquashfs(region, { ...limits, maximumTableBytes })
        : reopenSquashfs(before, region, limits);
    known?.add(file, layer);
    layers.push(layer);
    maximumTableBytes -= tableBytes(layer.tables);
    if (maximumTableBytes > 0) continue;
    throw new ImageBuilderError('image.too_large', 'the layers of the medium have more entries than fit into memory');
  }
  const opened = stack.move();
  return { layers, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}
