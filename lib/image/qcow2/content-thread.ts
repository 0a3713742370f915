import { readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { toImageBuilderError } from '../../errors.ts';
import { readAt } from '../read-at.ts';
import type { FromContentThread, ToContentThread } from './content.ts';
import { openContentCopy } from './content-copy.ts';
import { decompressClusterSync } from './decompress.ts';
import { headerAreaBytes, parseHeader } from './header.ts';
import { forEachCluster } from './tables.ts';

/** The thread that decompresses every compressed cluster of a qcow2 file; content.ts starts it. */

const { path, copyPath } = workerData as ToContentThread;
const tell = (message: FromContentThread) => parentPort?.postMessage(message);

try {
  await using handle = await open(path, 'r');
  const { size: fileSizeBytes } = await handle.stat();
  const head = await readAt(handle, 0, Math.min(fileSizeBytes, headerAreaBytes));
  const header = parseHeader(head, { maximumVirtualBytes: Number.MAX_SAFE_INTEGER });
  const { clusterSizeBytes, compression, virtualSizeBytes } = header;
  const buffer = Buffer.allocUnsafe(2 * clusterSizeBytes);
  const read = (offset: number, length: number) =>
    buffer.subarray(0, readSync(handle.fd, buffer, 0, Math.min(length, buffer.length), offset));
  const copy = copyPath === null ? null : openContentCopy(copyPath, virtualSizeBytes);
  await forEachCluster(handle, header, {
    fileSizeBytes,
    onCluster(diskOffset, cluster) {
      if (diskOffset >= virtualSizeBytes) return;
      if (cluster.kind === 'compressed') {
        const data = read(cluster.hostOffset, cluster.maximumBytes);
        // Also where there is no copy: it checks the data.
        const content = decompressClusterSync(data, compression, clusterSizeBytes, diskOffset);
        copy?.write(content, diskOffset);
      } else if (cluster.kind === 'data') copy?.write(read(cluster.hostOffset, clusterSizeBytes), diskOffset);
    },
  });
  tell({ damage: null });
  if (copy !== null) tell({ obstacle: await copy.finish() });
} catch (thrown) {
  const { code, message } = toImageBuilderError(thrown);
  tell({ damage: { code, message } });
}
