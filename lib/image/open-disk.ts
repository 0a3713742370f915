import { open } from 'node:fs/promises';
import { type Disk, rawDisk } from './disk.ts';
import type { ImageInspection } from './inspection.ts';
import { qcow2Disk } from './qcow2/disk.ts';
import { headerAreaBytes, parseHeader } from './qcow2/header.ts';
import { readAt } from './read-at.ts';

/**
 * Opens the disk of an inspected image for reading, without any tool. Throws as `inspectImage` where the file is no
 * longer the one that was inspected, and Node's own errors where it cannot be opened.
 */
export async function openDisk(
  path: string,
  inspection: Pick<ImageInspection, 'format' | 'virtualSizeBytes'>,
): Promise<Disk & AsyncDisposable> {
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    const disk =
      inspection.format === 'raw'
        ? rawDisk(handle, size)
        : await qcow2Disk(
            handle,
            parseHeader(await readAt(handle, 0, Math.min(size, headerAreaBytes)), {
              maximumVirtualBytes: inspection.virtualSizeBytes,
            }),
            size,
          );
    return { ...disk, [Symbol.asyncDispose]: () => handle.close() };
  } catch (thrown) {
    await handle.close();
    throw thrown;
  }
}
