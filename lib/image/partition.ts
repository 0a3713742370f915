/**
 * A partition, or the whole disk where there is no partition table, with its file system as far as it was recognised.
 */
export interface Partition {
  /** 1-based number in its table; 0 where the whole disk is one file system. */
  readonly number: number;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  /** GPT type GUID in lower case, or `mbr:83` for the byte of an MBR entry; null for a whole disk. */
  readonly type: string | null;
  /** GPT partition name; null where there is none. */
  readonly name: string | null;
  /** GPT partition GUID in lower case (PARTUUID); null where there is none. */
  readonly partitionUuid: string | null;
  /** True where the table forbids to mount it by its type alone. */
  readonly noAuto?: boolean;
  /** The file system by its superblock; null where none was recognised. */
  readonly fileSystem: FileSystem | null;
}

/** GPT type of EFI system partitions. */
export const espType = 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b';

/** True for an EFI system partition, in either table. */
export function isEsp({ type }: Pick<Partition, 'type'>): boolean {
  return type === espType || type === 'mbr:ef';
}

/** A partition as its table has it, before its content was read. */
export type TableEntry = Omit<Partition, 'fileSystem'>;

/** File systems that the guests may open, and other contents of partitions that are recognised only to be named. */
export type FileSystemType =
  | ('ext2' | 'ext3' | 'ext4' | 'vfat' | 'xfs' | 'btrfs')
  | ('squashfs' | 'swap' | 'lvm' | 'luks' | 'f2fs' | 'zfs' | 'mdraid' | 'bcachefs' | 'bcache' | 'ntfs' | 'exfat')
  | ('jfs' | 'reiserfs' | 'nilfs2' | 'erofs' | 'bitlocker' | 'hfsplus' | 'ufs' | 'stratis');

export interface FileSystem {
  readonly type: FileSystemType;
  readonly label: string | null;
  /** As fstab writes it: lower-case UUID, or `ABCD-1234` for vfat. */
  readonly uuid: string | null;
  /** The reason why no kernel can open it for writing from this disk alone, such as a journal elsewhere. */
  readonly fault?: string;
  /** Features that not every kernel has. */
  readonly features?: readonly KernelFeature[];
}

/** A feature of a file system that a kernel must know to open it for writing. */
export interface KernelFeature {
  readonly name: string;
  /** The first version of Linux with it, such as `6.13`; null where no version or not every configuration has it. */
  readonly since: string | null;
}
