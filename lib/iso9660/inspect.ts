import type { FileHandle } from 'node:fs/promises';
import { ImageBuilderError } from '../errors.ts';
import { rawDisk } from '../image/disk.ts';
import { readDescriptors, type VolumeDescriptor } from './descriptors.ts';
import { type BootEntry, readBootCatalogue } from './el-torito.ts';
import { type HybridTables, readHybridTables } from './hybrid.ts';
import { checkClaims, type IsoTree, readTree } from './tree.ts';
import type { Volume } from './volume.ts';

/** The facts about a CD medium that its own bytes state. */
export interface IsoInspection {
  readonly fileSizeBytes: number;
  readonly volumeSizeBytes: number;
  readonly volumeId: string;
  /** As blkid and GRUB make it out of the volume's dates; null where it has none. */
  readonly uuid: string | null;
  /** The files as Linux shows them: by Rock Ridge, else by Joliet, else by their ISO 9660 names. */
  readonly files: IsoTree;
  /** The tree that `files` has come from. */
  readonly names: 'rock-ridge' | 'joliet' | 'plain';
  readonly trees: IsoTrees;
  readonly boot: BootEquipment;
}

/** Each tree of names that the medium has; null for one that it has not. */
export interface IsoTrees {
  /** With the names of Rock Ridge, where the medium has them. */
  readonly primary: IsoTree;
  readonly joliet: IsoTree | null;
  readonly enhanced: IsoTree | null;
}

/** All by which a machine starts from the medium. */
export interface BootEquipment extends HybridTables {
  /** Place of El Torito's catalogue; null without one. */
  readonly catalogueOffsetBytes: number | null;
  readonly entries: readonly BootEntry[];
}

export interface IsoInspectOptions {
  readonly maximumBytes: number;
  readonly signal?: AbortSignal;
}

/**
 * Inspects an untrusted ISO 9660 image byte by byte and without any tool: descriptors, all folders of all trees, boot
 * catalogue and partition tables. The handle stays the caller's.
 *
 * Throws `image.too_large`, `image.truncated`, `image.corrupt`, `image.unsupported` and `image.unsafe`, each with its
 * own reason, or the reason of `signal`. Work and memory are in step with the number of files, which is limited; the
 * content of files is not read.
 */
export async function inspectIso(handle: FileHandle, options: IsoInspectOptions): Promise<IsoInspection> {
  const { maximumBytes, signal } = options;
  const { size: fileSizeBytes } = await handle.stat();
  if (fileSizeBytes > maximumBytes) {
    throw new ImageBuilderError(
      'image.too_large',
      `the medium is ${fileSizeBytes} bytes large; at most ${maximumBytes} bytes are allowed`,
    );
  }
  const disk = rawDisk(handle, fileSizeBytes, () => signal?.throwIfAborted());
  const { primary, others, bootCatalogue } = await readDescriptors(disk);
  const volumeOf = ({ sizeBytes }: VolumeDescriptor): Volume => ({ disk, sizeBytes });
  const volume = volumeOf(primary);
  const tree = async (kind: VolumeDescriptor['tree']) => {
    const found = others.find((other) => other.tree === kind);
    return found === undefined ? null : (await readTree(volumeOf(found), found, false)).entries;
  };
  const joliet = await tree('joliet');
  const { entries, rockRidge } = await readTree(volume, primary, joliet === null);
  const trees: IsoTrees = { primary: entries, joliet, enhanced: await tree('enhanced') };
  checkClaims(
    Object.values(trees).filter((found) => found !== null),
    fileSizeBytes,
  );
  const names = rockRidge ? 'rock-ridge' : joliet === null ? 'plain' : 'joliet';
  return {
    fileSizeBytes,
    volumeSizeBytes: primary.sizeBytes,
    volumeId: primary.volumeId,
    uuid: uuidOf(primary),
    files: names === 'joliet' && joliet !== null ? joliet : entries,
    names,
    trees,
    boot: {
      catalogueOffsetBytes: bootCatalogue === null ? null : bootCatalogue * 2048,
      entries: bootCatalogue === null ? [] : await readBootCatalogue(volume, bootCatalogue),
      ...(await readHybridTables(disk)),
    },
  };
}

/** `2026-11-26-00-00-00-00`: the day of the last change, else that of the making. */
function uuidOf({ modifiedAt, createdAt }: VolumeDescriptor): string | null {
  const date = modifiedAt ?? createdAt;
  if (date === null) return null;
  return `${date.slice(0, 4)}-${(date.slice(4, 16).match(/../g) ?? []).join('-')}`;
}
