import { type FileHandle, open } from 'node:fs/promises';
import { ImageBuilderError } from '../errors.ts';
import { lookAsRaw } from './as-raw.ts';
import { createBudget } from './budget.ts';
import { type Disk, rawDisk } from './disk.ts';
import { foreignMarks } from './foreign-marks.ts';
import type { ImageInspection } from './inspection.ts';
import { readPartitions } from './partition-table.ts';
import { qcow2Disk } from './qcow2/disk.ts';
import { headerAreaBytes, parseHeader } from './qcow2/header.ts';
import { checkTables } from './qcow2/tables.ts';
import { readAt } from './read-at.ts';
import { recogniseFile } from './recognise-file.ts';

export interface InspectOptions {
  /** Disks larger than this are refused, before anything is allocated for them. */
  readonly maximumVirtualBytes: number;
  readonly signal?: AbortSignal;
}

/**
 * Recognises the image in an untrusted file, byte by byte and without any tool. A file that passes makes QEMU open no
 * other file and allocate nothing beyond its size limits.
 *
 * Throws `image.unsafe` (backing file, external data file), `image.unsupported` (another format, by name; encryption,
 * snapshots, features that are not known), `image.too_large`, `image.truncated`, `image.corrupt`, the reason of
 * `signal`, and Node's own errors where the file cannot be read. Time and memory are bounded by the size of the file:
 * no table is checked twice, and reading from the disk has a budget (`createBudget`). Never busy for long: between any
 * two clusters, other work is done and `signal` looked at.
 */
export async function inspectImage(path: string, options: InspectOptions): Promise<ImageInspection> {
  options.signal?.throwIfAborted();
  await using handle = await open(path, 'r');
  const { size: fileSizeBytes } = await handle.stat();
  const { format, name, advice } = await recogniseFile(handle, fileSizeBytes);
  if (format !== 'qcow2' && format !== 'raw' && format !== 'unknown') {
    throw new ImageBuilderError('image.unsupported', `the file is ${name}, no qcow2 or raw image: ${advice}`);
  }
  // A file larger than its disk by more than tables and leftovers was not made in good faith.
  if (fileSizeBytes > 2 * options.maximumVirtualBytes) throw tooLarge(fileSizeBytes, options.maximumVirtualBytes);
  return format === 'qcow2'
    ? await inspectQcow2(handle, fileSizeBytes, options)
    : await inspectRaw(handle, fileSizeBytes, options);
}

async function inspectQcow2(
  handle: FileHandle,
  fileSizeBytes: number,
  options: InspectOptions,
): Promise<ImageInspection> {
  const head = await readAt(handle, 0, Math.min(fileSizeBytes, headerAreaBytes));
  const header = parseHeader(head, options);
  const summary = await checkTables(handle, header, {
    fileSizeBytes,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  const disk = await qcow2Disk(handle, header, fileSizeBytes, createBudget(fileSizeBytes, options.signal));
  return {
    format: 'qcow2',
    virtualSizeBytes: header.virtualSizeBytes,
    fileSizeBytes,
    qcow2: {
      version: header.version,
      clusterSizeBytes: header.clusterSizeBytes,
      compression: header.compression,
      extendedL2: header.extendedL2,
      refcountBits: header.refcountBits,
      ...summary,
      unusual: [...header.unusual, ...foreignMarks(head)],
    },
    asRaw: await lookAsRaw(disk),
    ...(await inspectDisk(disk, 'image.corrupt')),
  };
}

async function inspectRaw(
  handle: FileHandle,
  fileSizeBytes: number,
  options: InspectOptions,
): Promise<ImageInspection> {
  if (fileSizeBytes > options.maximumVirtualBytes) throw tooLarge(fileSizeBytes, options.maximumVirtualBytes);
  const disk = rawDisk(handle, fileSizeBytes, createBudget(fileSizeBytes, options.signal));
  const content = await inspectDisk(disk, 'image.truncated');
  if (content.partitions.length === 0) {
    throw new ImageBuilderError(
      'image.unsupported',
      'the file is neither a qcow2 image nor a raw disk with a partition table or file system that is known here',
    );
  }
  // QEMU fills the last sector up with zeros.
  return {
    format: 'raw',
    virtualSizeBytes: Math.ceil(fileSizeBytes / 512) * 512,
    fileSizeBytes,
    qcow2: null,
    asRaw: await lookAsRaw(disk),
    ...content,
  };
}

async function inspectDisk(
  disk: Disk,
  beyondEnd: 'image.corrupt' | 'image.truncated',
): Promise<Pick<ImageInspection, 'partitionTable' | 'partitions'>> {
  const { table, partitions } = await readPartitions(disk, { beyondEnd });
  return { partitionTable: table, partitions };
}

function tooLarge(sizeBytes: number, maximumBytes: number): ImageBuilderError {
  return new ImageBuilderError(
    'image.too_large',
    `the image is ${sizeBytes} bytes large; disks of at most ${maximumBytes} bytes are allowed`,
  );
}
