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
  /** The file system by its superblock; null where none was recognised. */
  readonly fileSystem: FileSystem | null;
}

/** A partition as its table has it, before its content was read. */
export type TableEntry = Omit<Partition, 'fileSystem'>;

export interface FileSystem {
  readonly type: 'ext2' | 'ext3' | 'ext4' | 'vfat' | 'xfs' | 'btrfs' | 'squashfs' | 'swap' | 'lvm' | 'luks';
  readonly label: string | null;
  /** As fstab writes it: lower-case UUID, or `ABCD-1234` for vfat. */
  readonly uuid: string | null;
}
