import { resolve } from 'node:path';
import type { IdRange } from '../privileges.ts';
import type { ImageInspection } from './inspection.ts';
import { limitsFor, openQemuTools } from './qemu-img.ts';

export interface OverlayOptions {
  /** An inspected image; it is only read. It must stay where it is for as long as the overlay is in use. */
  readonly basePath: string;
  readonly base: Pick<ImageInspection, 'format' | 'virtualSizeBytes' | 'qcow2'>;
  readonly overlayPath: string;
  /** Size of its disk; default: that of the base. */
  readonly virtualSizeBytes?: number;
  readonly unprivilegedIds: IdRange;
  readonly signal?: AbortSignal;
}

const defaultClusterBytes = 64 * 1024;

/**
 * Creates an empty qcow2 file that reads as the base and takes all changes. Its clusters are never smaller than those
 * of the base, so that each change covers whole clusters of the base, on which appending the changes relies. Throws
 * `tool.failed`, `disk.full` or the reason of `signal`.
 */
export async function createOverlay(options: OverlayOptions): Promise<void> {
  const { basePath, base, overlayPath, unprivilegedIds, signal } = options;
  const { virtualSizeBytes = base.virtualSizeBytes } = options;
  await using tools = await openQemuTools({ overlay: { path: overlayPath, writable: true } }, unprivilegedIds);
  const clusterBytes = Math.max(defaultClusterBytes, base.qcow2?.clusterSizeBytes ?? 0);
  const args = ['create', '-q', '-f', 'qcow2', '-o', `compat=1.1,cluster_size=${clusterBytes}`];
  // The overlay keeps the base's path, without opening it here (-u). QEMU never takes an absolute path for a URL.
  args.push('-u', '-F', base.format, '-b', resolve(basePath), tools.names.overlay, String(virtualSizeBytes));
  await tools.run('qemu-img', args, {
    limits: limitsFor(virtualSizeBytes),
    ...(signal === undefined ? {} : { signal }),
  });
}
