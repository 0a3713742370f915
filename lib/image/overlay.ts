import { constants } from 'node:fs';
import { chmod, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { cloneFile } from '../copy-file.ts';
import { renderEmptyQcow2 } from '../empty-qcow2.ts';
import { writeAll } from '../write-all.ts';
import type { ImageInspection } from './inspection.ts';

export interface OverlayOptions {
  /** An inspected image; it is only read. It must stay where it is for as long as the overlay is in use. */
  readonly basePath: string;
  readonly base: Pick<ImageInspection, 'format' | 'virtualSizeBytes' | 'qcow2'>;
  readonly overlayPath: string;
  /** Size of its disk; default: that of the base. */
  readonly virtualSizeBytes?: number;
  readonly signal?: AbortSignal;
}

const defaultClusterBytes = 64 * 1024;

/**
 * Creates an empty qcow2 file that reads as the base and takes all changes. Its clusters are never smaller than those
 * of the base, so that each change covers whole clusters of the base, on which appending the changes relies. The base
 * is not opened. Throws `image.too_large` where no qcow2 can have such a disk, Node's error where the file cannot be
 * written, or the reason of `signal`.
 */
export async function createOverlay(options: OverlayOptions): Promise<void> {
  const { basePath, base, overlayPath, signal } = options;
  const { virtualSizeBytes = base.virtualSizeBytes } = options;
  signal?.throwIfAborted();
  const { parts, fileBytes } = renderEmptyQcow2({
    clusterBytes: Math.max(defaultClusterBytes, base.qcow2?.clusterSizeBytes ?? 0),
    virtualSizeBytes,
    // QEMU never takes an absolute path for a URL.
    backing: { path: resolve(basePath), format: base.format },
  });
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
  await using file = await open(overlayPath, flags, 0o600);
  await file.truncate(fileBytes);
  for (const { offset, bytes } of parts) await writeAll(file, bytes, offset);
}

/**
 * Copies a closed overlay with its changes to `overlayPath`, where nothing is. Throws the errors of `exec`, or the reason
 * of `signal`.
 */
export async function copyOverlay(path: string, overlayPath: string, signal: AbortSignal): Promise<void> {
  await cloneFile(path, overlayPath, signal);
  await chmod(overlayPath, 0o600);
}
