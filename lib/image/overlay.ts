import { resolve } from 'node:path';
import type { ImageInspection } from './inspection.ts';
import { limitsFor, runQemuTool } from './qemu-img.ts';

export interface OverlayOptions {
  /** An inspected image; it is only read. It must stay where it is for as long as the overlay is in use. */
  readonly basePath: string;
  readonly base: ImageInspection;
  readonly overlayPath: string;
  readonly signal?: AbortSignal;
}

const defaultClusterBytes = 64 * 1024;

/**
 * Creates an empty qcow2 file that reads as the base and takes all changes. Its clusters are never smaller than those
 * of the base, so that each change is of whole clusters of the base (what appending the changes to it relies on).
 * Throws `tool.failed`, `disk.full` or the reason of `signal`.
 */
export async function createOverlay({ basePath, base, overlayPath, signal }: OverlayOptions): Promise<void> {
  const clusterBytes = Math.max(defaultClusterBytes, base.qcow2?.clusterSizeBytes ?? 0);
  const args = ['create', '-q', '-f', 'qcow2', '-o', `compat=1.1,cluster_size=${clusterBytes}`];
  // An absolute path: QEMU would look for "scheme:" only before the first slash.
  args.push('-F', base.format, '-b', resolve(basePath), resolve(overlayPath));
  await runQemuTool('qemu-img', args, {
    limits: limitsFor(base.virtualSizeBytes),
    ...(signal === undefined ? {} : { signal }),
  });
}
