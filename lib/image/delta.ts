import { open } from 'node:fs/promises';
import { headerAreaBytes, parseHeader } from './qcow2/header.ts';
import { corrupt } from './qcow2/refusals.ts';
import { forEachCluster } from './qcow2/tables.ts';
import { readAt } from './read-at.ts';

/** The differences between an overlay and its base. */
export interface Delta {
  readonly virtualSizeBytes: number;
  readonly clusterSizeBytes: number;
  /** Bytes that the overlay stores, uncompressed; changes to zeros count nothing. */
  readonly dataBytes: number;
  /** Parts of the disk that come from the overlay, data and zeros alike; in order, never adjoining. */
  readonly extents: readonly DiskExtent[];
}

export interface DiskExtent {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/**
 * Reads the changes from the tables of an overlay. Throws `image.corrupt` or `image.truncated` where they are damaged,
 * `image.unsupported` where the overlay has features that overlays of ours do not have.
 */
export async function readDelta(overlayPath: string, signal: AbortSignal): Promise<Delta> {
  await using handle = await open(overlayPath, 'r');
  const { size } = await handle.stat();
  const head = await readAt(handle, 0, Math.min(size, headerAreaBytes));
  const header = parseHeader(head, { maximumVirtualBytes: Number.MAX_SAFE_INTEGER, allowBackingFile: true });
  const { clusterSizeBytes, virtualSizeBytes } = header;
  const extents: { offsetBytes: number; sizeBytes: number }[] = [];
  let dataBytes = 0;
  let storedBytes = 0;
  /** Nothing of an overlay is shared: work that is more than its file is long was made up. */
  const spend = () => {
    storedBytes += clusterSizeBytes;
    if (storedBytes >= size + clusterSizeBytes) throw corrupt('its tables and data overlap');
  };
  await forEachCluster(handle, header, {
    fileSizeBytes: size,
    signal,
    onTable: spend,
    onCluster(offsetBytes, cluster) {
      if (offsetBytes >= virtualSizeBytes) return;
      if (cluster.kind === 'data') {
        dataBytes += clusterSizeBytes;
        spend();
      }
      if (cluster.kind === 'compressed') dataBytes += clusterSizeBytes;
      const sizeBytes = Math.min(clusterSizeBytes, virtualSizeBytes - offsetBytes);
      const last = extents.at(-1);
      if (last !== undefined && last.offsetBytes + last.sizeBytes === offsetBytes) last.sizeBytes += sizeBytes;
      else extents.push({ offsetBytes, sizeBytes });
    },
  });
  return { virtualSizeBytes, clusterSizeBytes, dataBytes, extents };
}
