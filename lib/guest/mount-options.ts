import type { FileSystemType } from '../image/partition.ts';

export type MountOptions = Partial<Record<FileSystemType, string>>;

/**
 * An error stops neither the machine, as the superblock may ask for, nor the build: the kernel counts the errors, which
 * are the image's fault in the end. The superblock keeps its own setting.
 */
const extOptions = 'noatime,nodev,errors=continue';

/**
 * Options by file system; others are not opened. Two builds of one base mount two copies with the same UUID: XFS refuses
 * that unless `nouuid` is given, and btrfs before Linux 6.7.
 */
export const mountOptions: MountOptions = {
  ext2: extOptions,
  ext3: extOptions,
  ext4: extOptions,
  xfs: 'noatime,nodev,nouuid',
  vfat: 'noatime,nodev,umask=0077',
  btrfs: 'noatime,nodev',
};

/**
 * The driver by which a host mounts a file system: the ext4 driver reads ext2 and ext3 too, and only ext4 supports id
 * maps.
 */
export function hostDriver(type: FileSystemType): FileSystemType {
  return type === 'ext2' || type === 'ext3' ? 'ext4' : type;
}

/** Options for a look at a file system, which must not change: journals are not replayed. */
export function lookOptions(type: FileSystemType): string {
  const journal: MountOptions = { ext3: ',noload', ext4: ',noload', xfs: ',norecovery' };
  return `${mountOptions[type] ?? ''},ro${journal[type] ?? ''}`;
}
