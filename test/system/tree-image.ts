import { open, stat } from 'node:fs/promises';
import { exec } from '#lib/exec.ts';
import { untouchedSeconds } from '#lib/ext4/inode.ts';
import type { TreeMember } from '#lib/ext4/member.ts';
import { writeExt4 } from '#lib/ext4/write.ts';
import type { GuestPlace, PartitionedDisk, TreeChanges } from '#lib/guest/guest.ts';
import { readRootArchive } from '#lib/tar/root-archive.ts';

/** An ext4 made from the tar of a root file system, and the names in that tar. */
export interface TreeImage {
  readonly path: string;
  readonly members: readonly string[];
  /** By Debian's name. */
  readonly architecture: string;
}

const signal = new AbortController().signal;
const limits = { maximumEntries: 1_000_000, maximumNameBytes: 2 ** 28, scope: 'whole', signal } as const;

export async function makeTreeImage(tarPath: string, path: string, architecture: string): Promise<TreeImage> {
  await using source = await open(tarPath);
  const { size: length } = await source.stat();
  const { entries } = await readRootArchive({ handle: source, offset: 0, length }, limits);
  const members = [...entries].map(([name, entry]): TreeMember => {
    const attributes = [...entry.attributes].filter(([keyword]) => keyword.startsWith('SCHILY.xattr.'));
    return {
      ...entry,
      path: name,
      attributes: new Map(attributes.map(([keyword, value]) => [keyword.slice('SCHILY.xattr.'.length), value])),
    };
  });
  await writeExt4(path, members, { source, sizeBytes: 512 * 2 ** 20, signal });
  return { path, members: [...entries.keys()], architecture };
}

export type TreeDisk = PartitionedDisk & { readonly changes: TreeChanges };

/** The disk that a guest opens, in the place of a build. */
export async function treeDisk(
  { path, members, architecture }: TreeImage,
  place: GuestPlace,
  maximumBytes: number,
): Promise<TreeDisk> {
  await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', path, '-F', 'raw', place.overlayPath]);
  const { size: sizeBytes } = await stat(path);
  const fileSystem = { type: 'ext4', label: null, uuid: null } as const;
  const whole = { number: 0, offsetBytes: 0, sizeBytes, type: null, name: null, partitionUuid: null, fileSystem };
  // Beside the folder that is to be empty in the end.
  const files = { path: `${place.overlayPath}.changes.tar`, gonePath: `${place.overlayPath}.gone` };
  return {
    ...{ ...place, architecture, base: { path, format: 'raw' }, partitions: [whole] },
    changes: { ...files, members, untouchedSeconds, maximumBytes },
  };
}
