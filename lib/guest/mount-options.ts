import type { FileSystem } from '../image/partition.ts';

export type MountOptions = Partial<Record<FileSystem['type'], string>>;

/**
 * Options by file system. What a host can mount is what two builds of one base can mount there at the same time: XFS
 * refuses a UUID that is there already unless told otherwise, and btrfs would take one device for the other.
 */
export const hostMountOptions: MountOptions = {
  ext2: 'noatime,nodev',
  ext3: 'noatime,nodev',
  ext4: 'noatime,nodev',
  xfs: 'noatime,nodev,nouuid',
  vfat: 'noatime,nodev,umask=0077',
};

/** The type that the host mounts a file system as. The kernel gives ext2 and ext3 an id map only where its ext4 driver reads them. */
export function hostDriver(type: FileSystem['type']): FileSystem['type'] {
  return type === 'ext2' || type === 'ext3' ? 'ext4' : type;
}

/** In a vm there is only one image. */
export const vmMountOptions: MountOptions = {
  ...hostMountOptions,
  btrfs: 'noatime,nodev',
};
