import { open, rename, rm, stat } from 'node:fs/promises';
import { ImageBuilderError } from '../../errors.ts';
import { archivedRoot, writeArchive } from '../../squashfs/compact/archive.ts';
import { createDigests, findDifference } from '../../squashfs/compact/compare.ts';
import { takeInventory, whyNoArchive } from '../../squashfs/compact/inventory.ts';
import { moveRoot } from '../../squashfs/compact/move-root.ts';
import { openSquashfs, type Squashfs, type SquashfsLimits } from '../../squashfs/open.ts';
import { superblockFlags } from '../../squashfs/superblock.ts';
import { formatBytes } from '../../text.ts';
import { packArchive } from './mksquashfs.ts';

export interface CompactOptions {
  /** A layer, whose place the result takes. */
  readonly path: string;
  readonly limits: SquashfsLimits;
  /** Called with the finished part, 0 to 1. */
  readonly onProgress: (fraction: number) => void;
}

/** Share of the time that packing takes; the rest reads the result. */
const packingShare = 0.9;

/**
 * Packs a layer anew with its own compressor, options and block size, so that it holds nothing that no file uses any more,
 * and no content twice. The result takes the layer's place where every file is the same in it and it is smaller. Resolves
 * with what came of it, for the log of the build. Throws `disk.full`, `image.corrupt` where the layer cannot be read, or
 * the reason of the signal.
 */
export async function compactLayer(options: CompactOptions): Promise<string> {
  const { path } = options;
  const output = `${path}.compact`;
  try {
    const hindrance = await packAnew(options, output);
    if (hindrance !== null) return `the layer was not made compact: ${hindrance}`;
    const [before, after] = [(await stat(path)).size, (await stat(output)).size];
    if (after >= before) return `the layer was not made compact: it would take ${formatBytes(after)}`;
    await rename(output, path);
    return `the layer was made compact: ${formatBytes(after)}, before ${formatBytes(before)}`;
  } finally {
    await rm(output, { force: true });
  }
}

/** Writes a new layer beside the old one, and compares the two. Returns the reason why it is of no use, or null. */
async function packAnew({ path, limits, onProgress }: CompactOptions, outputPath: string): Promise<string | null> {
  const { signal, unprivilegedIds } = limits;
  await using opened = new AsyncDisposableStack();
  const layer = await openWhole(opened, path, limits);
  const hindrance = whyNoArchive(layer);
  if (hindrance !== null) return hindrance;
  const { contentBytes } = layer;
  const digests = createDigests(layer);
  const progress = (from: number, share: number) => {
    let doneBytes = 0;
    return (bytes: number) => {
      doneBytes += bytes;
      onProgress(from + share * Math.min(1, doneBytes / contentBytes));
    };
  };
  const onPacked = progress(0, packingShare);
  const archive = writeArchive(layer, takeInventory(layer), limits, (number, bytes) => {
    digests.onContent(number, bytes);
    if (bytes !== null) onPacked(bytes.length);
  });
  try {
    await packArchive({
      ...{ archive, outputPath, like: layer, more: argumentsFor(layer), contentBytes, unprivilegedIds, signal },
      maximumBytes: contentBytes + layer.region.length,
    });
  } catch (error) {
    if (error instanceof ImageBuilderError && error.code === 'tool.failed') return error.message;
    throw error;
  }
  await moveRoot(outputPath, archivedRoot, limits);
  const made = await openWhole(opened, outputPath, limits);
  const difference = await findDifference(layer, digests, made, limits, progress(packingShare, 1 - packingShare));
  return difference === null ? null : `packed anew, ${difference}`;
}

async function openWhole(opened: AsyncDisposableStack, path: string, limits: SquashfsLimits): Promise<Squashfs> {
  const handle = opened.use(await open(path));
  const { size: length } = await handle.stat();
  return await openSquashfs({ handle, offset: 0, length }, limits);
}

/** The form of the file system, of which an archive says nothing. */
function argumentsFor({ superblock }: Squashfs): string[] {
  const { flags, exportTable, modifiedSeconds } = superblock;
  const has = (flag: number) => (flags & flag) !== 0;
  return [
    ...['-mkfs-time', String(modifiedSeconds)],
    exportTable === null ? '-no-exports' : '-exports',
    ...(has(superblockFlags.noFragments) ? ['-no-fragments'] : []),
    ...(has(superblockFlags.alwaysFragments) ? ['-always-use-fragments'] : []),
    ...(has(superblockFlags.dataStored) ? ['-noD'] : []),
    ...(has(superblockFlags.fragmentsStored) ? ['-noF'] : []),
  ];
}
