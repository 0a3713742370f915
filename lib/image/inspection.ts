import type { AsRaw } from './as-raw.ts';
import type { Partition } from './partition.ts';

/** The facts about an image that its own bytes state. Plain data: it can be kept as JSON beside a cached image. */
export interface ImageInspection {
  readonly format: 'qcow2' | 'raw';
  /** Size of the disk that a machine sees. */
  readonly virtualSizeBytes: number;
  readonly fileSizeBytes: number;
  /** Null for raw images. */
  readonly qcow2: Qcow2Details | null;
  readonly asRaw: AsRaw;
  /** `none` where the whole disk is one file system, or blank. */
  readonly partitionTable: 'gpt' | 'mbr' | 'none';
  /** In the order of the table. */
  readonly partitions: readonly Partition[];
}

export interface Qcow2Details {
  /** 2 is qemu-img's compat 0.10, 3 is compat 1.1. */
  readonly version: 2 | 3;
  readonly clusterSizeBytes: number;
  readonly compression: 'zlib' | 'zstd';
  readonly extendedL2: boolean;
  readonly refcountBits: number;
  /** Bytes of the disk that are stored in the file, before compression. */
  readonly allocatedBytes: number;
  /** Part of `allocatedBytes` that is compressed. */
  readonly compressedBytes: number;
  /** Features that only a full conversion should handle, in words; empty for images as qemu-img makes them. */
  readonly unusual: readonly string[];
}
