import { type FileHandle, open } from 'node:fs/promises';
import { ImageBuilderError } from '../../errors.ts';
import { openSquashfs, type Squashfs, type SquashfsLimits } from '../../squashfs/open.ts';
import type { Tables } from '../../squashfs/tables.ts';

/** A SquashFS in a file of the worker; the whole file, or a part of it. */
export interface LayerFile {
  readonly path: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** Inspected layers, in the order of their files. Disposing closes the files. */
export interface OpenLayers extends AsyncDisposable {
  readonly layers: readonly Squashfs[];
}

/**
 * Inspects layers, whose tables together may take the memory of `limits` for one. Throws as `openSquashfs` does, with
 * `image.too_large` for too many tables.
 */
export async function openLayers(files: readonly LayerFile[], limits: SquashfsLimits): Promise<OpenLayers> {
  await using stack = new AsyncDisposableStack();
  const handles = new Map<string, FileHandle>();
  const layers: Squashfs[] = [];
  let maximumTableBytes = limits.maximumTableBytes;
  for (const { path, offsetBytes: offset, sizeBytes: length } of files) {
    const handle = handles.get(path) ?? stack.use(await open(path, 'r'));
    handles.set(path, handle);
    const layer = await openSquashfs({ handle, offset, length }, { ...limits, maximumTableBytes });
    layers.push(layer);
    maximumTableBytes -= tableBytes(layer.tables);
    if (maximumTableBytes > 0) continue;
    throw new ImageBuilderError('image.too_large', 'the layers of the medium have more entries than fit into memory');
  }
  const opened = stack.move();
  return { layers, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

function tableBytes({ inodes, directories, fragments, ids, attributes }: Tables): number {
  const ofAttributes = attributes === null ? 0 : attributes.pairs.bytes.length + attributes.sets.length;
  return inodes.bytes.length + directories.bytes.length + fragments.length + ids.length + ofAttributes;
}
