import type { FileSystem } from '../image/partition.ts';

export type MountOptions = Partial<Record<FileSystem['type'], string>>;

/**
 * Options by file system. Listed are only file systems of which a host can mount two copies with the same UUID, as two
 * builds of one base need: XFS refuses a UUID that is there already unless `nouuid` is given. With btrfs the kernel
 * would take one device for the other.
 */
export const hostMountOptions: MountOptions = {
  ext2: 'noatime,nodev',
  ext3: 'noatime,nodev',
  ext4: 'noatime,nodev',
  xfs: 'noatime,nodev,nouuid',
  vfat: 'noatime,nodev,umask=0077',
};

/**
 * The driver by which a host mounts a file system: the ext4 driver reads ext2 and ext3 too, and only ext4 supports id
 * maps.
 */
export function hostDriver(type: FileSystem['type']): FileSystem['type'] {
  return type === 'ext2' || type === 'ext3' ? 'ext4' : type;
}

/** Mount options in a vm, which has only one image and can therefore mount btrfs, too. */
export const vmMountOptions: MountOptions = {
  ...hostMountOptions,
  btrfs: 'noatime,nodev',
};
