import { readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { toImageBuilderError } from '../../errors.ts';
import { readAt } from '../read-at.ts';
import type { FromContentThread, ToContentThread } from './content.ts';
import { decompressClusterSync } from './decompress.ts';
import { headerAreaBytes, parseHeader } from './header.ts';
import { forEachCluster } from './tables.ts';

/** The thread that decompresses every compressed cluster of a qcow2 file; content.ts starts it. */

const { path } = workerData as ToContentThread;
const tell = (message: FromContentThread) => parentPort?.postMessage(message);

try {
  await using handle = await open(path, 'r');
  const { size: fileSizeBytes } = await handle.stat();
  const head = await readAt(handle, 0, Math.min(fileSizeBytes, headerAreaBytes));
  const header = parseHeader(head, { maximumVirtualBytes: Number.MAX_SAFE_INTEGER });
  const { clusterSizeBytes, compression, virtualSizeBytes } = header;
  const buffer = Buffer.allocUnsafe(2 * clusterSizeBytes);
  await forEachCluster(handle, header, {
    fileSizeBytes,
    onCluster(diskOffset, cluster) {
      if (cluster.kind !== 'compressed' || diskOffset >= virtualSizeBytes) return;
      const { hostOffset, maximumBytes } = cluster;
      const bytesRead = readSync(handle.fd, buffer, 0, Math.min(maximumBytes, buffer.length), hostOffset);
      decompressClusterSync(buffer.subarray(0, bytesRead), compression, clusterSizeBytes, diskOffset);
    },
  });
  tell({ damage: null });
} catch (thrown) {
  const { code, message } = toImageBuilderError(thrown);
  tell({ damage: { code, message } });
}
