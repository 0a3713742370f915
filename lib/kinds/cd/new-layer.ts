import { type FileHandle, open, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ImageBuilderError, messageOf } from '../../errors.ts';
import type { Region as Place } from '../../guest/guest.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import { openSquashfs, type Squashfs, type SquashfsLimits } from '../../squashfs/open.ts';
import { spliceSquashfs } from '../../squashfs/splice/splice.ts';
import { thinArchive } from '../../squashfs/thin/thin.ts';
import { createView } from '../../squashfs/thin/view.ts';
import { type NewKernels, writeNewKernels } from './new-kernel.ts';
import { packChanges } from './pack-changes.ts';
import { type InstalledPackages, parsePackageStatus } from './package-status.ts';

/** A layer with the changes in it. */
export interface NewLayer {
  readonly path: string;
  readonly sizeBytes: number;
  /** Bytes that its files have grown by; fewer than 0 where they have shrunk. */
  readonly grownBytes: number;
  readonly packages: { readonly before: InstalledPackages; readonly after: InstalledPackages };
  readonly kernels: NewKernels;
}

export interface NewLayerOptions {
  /** The medium, and the path and place of the layer in it. */
  readonly mediumPath: string;
  readonly layerPath: string;
  readonly layer: Place;
  /** The files of the medium. */
  readonly files: IsoTree;
  readonly changesPath: string;
  /** An existing folder that only this build uses. */
  readonly directory: string;
  readonly limits: SquashfsLimits;
  /** Largest result of packing the changes. */
  readonly maximumBytes: number;
}

/** A status of dpkg with some thousand packages has 4 MB. */
const maximumStatusBytes = 64 * 2 ** 20;
const statusPath = 'var/lib/dpkg/status';

/**
 * Lays the changes over a layer, by a splice: what is compressed already is copied. Throws `image.output` where the result
 * is not a sound SquashFS, and as `packChanges` and `spliceSquashfs` do.
 */
export async function writeNewLayer(options: NewLayerOptions): Promise<NewLayer> {
  const { mediumPath, layerPath, layer, files, changesPath, directory, limits, maximumBytes } = options;
  const { unprivilegedIds, signal } = limits;
  const deltaPath = join(directory, 'changes.squashfs');
  const path = join(directory, 'layer.squashfs');
  await using medium = await open(mediumPath, 'r');
  const base = await openSquashfs({ handle: medium, offset: layer.offsetBytes, length: layer.sizeBytes }, limits);
  try {
    const thinnedPath = join(directory, 'thinned.tar');
    await thinChanges(changesPath, thinnedPath, base, limits);
    await rm(changesPath);
    await packChanges({ changesPath: thinnedPath, deltaPath, base, maximumBytes, unprivilegedIds, signal });
    await rm(thinnedPath);
    await using file = await open(deltaPath, 'r');
    const delta = await openWhole(file, limits);
    await spliceSquashfs(base, delta, path, { bottom: true, signal });
  } finally {
    await rm(deltaPath, { force: true });
  }
  await using file = await open(path, 'r');
  const result = await openWhole(file, limits).catch((error: unknown) => {
    signal.throwIfAborted();
    throw new ImageBuilderError('image.output', `the new layer is damaged: ${messageOf(error)}`, { cause: error });
  });
  const packages = { before: await readPackages(base), after: await readPackages(result) };
  const kernels = await writeNewKernels({
    ...{ mediumPath, files, directory, limits },
    systems: [{ topLayer: basename(layerPath), before: [base], after: [result] }],
  });
  const { size: sizeBytes } = await stat(path);
  return { path, sizeBytes, grownBytes: result.contentBytes - base.contentBytes, packages, kernels };
}

/**
 * Leaves out what the layer has already, which would only take room, and writes the rest so that mksquashfs reads it
 * right: from the headers that GNU tar writes, it takes long targets of links without their leading `../`.
 */
async function thinChanges(from: string, to: string, base: Squashfs, limits: SquashfsLimits): Promise<void> {
  await using handle = await open(from, 'r');
  await using output = await open(to, 'wx');
  const { size: length } = await handle.stat();
  const { maximumInodes: maximumEntries, unprivilegedIds, signal } = limits;
  await thinArchive({ handle, offset: 0, length }, createView([base]), output, {
    ...{ maximumEntries, unprivilegedIds, signal },
  });
}

async function openWhole(handle: FileHandle, limits: SquashfsLimits): Promise<Squashfs> {
  const { size: length } = await handle.stat();
  return await openSquashfs({ handle, offset: 0, length }, limits);
}

async function readPackages(squashfs: Squashfs): Promise<InstalledPackages> {
  const status = squashfs.find(statusPath);
  if (status?.type !== 'file') return new Map();
  return parsePackageStatus((await squashfs.read(status, maximumStatusBytes)).toString('utf8'));
}
