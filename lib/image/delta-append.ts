import { resolve } from 'node:path';
import type { CommonRun } from '../common-run.ts';
import { cloneFile } from '../copy-file.ts';
import type { RepackOptions } from './convert.ts';
import type { Delta } from './delta.ts';
import { appendChanges, compressorFor } from './qcow2/append/append.ts';
import { limitsFor, openQemuTools } from './qemu-img.ts';

/**
 * Why the changes of an overlay should not be appended to a copy of its base, in words; null where they should.
 * Appending compresses only the changed clusters, with the base's own method.
 */
export function obstacleToDeltaAppend(
  { base, compression, outputFormat }: Pick<RepackOptions, 'base' | 'compression' | 'outputFormat'>,
  delta: Delta,
): string | null {
  if (outputFormat === 'raw') return 'a raw image is wanted';
  if (base.qcow2 === null) return 'the base is a raw image';
  const { unusual, allocatedBytes, compressedBytes, clusterSizeBytes } = base.qcow2;
  if (unusual.length > 0) return `the base has ${unusual.join(', ')}`;
  if (base.qcow2.compression === 'zstd' && compression === 'zlib')
    return 'the base is compressed with zstd, and zlib is wanted';
  if (compressedBytes < allocatedBytes / 2) return 'the base is not compressed';
  if (delta.virtualSizeBytes < base.virtualSizeBytes) return 'the disk was made smaller';
  if (delta.clusterSizeBytes % clusterSizeBytes !== 0) return 'the overlay has smaller clusters than the base';
  // zstd compresses several times faster than zlib: converting everything with zstd overtakes appending much with zlib.
  const slower = base.qcow2.compression === 'zlib' && compression === 'zstd';
  if (delta.dataBytes > allocatedBytes / (slower ? 4 : 1)) return 'the changes are too large against the base';
  return null;
}

/**
 * Writes the changed disk as a copy of the base in which the changed clusters are replaced, compressed. The result has
 * no backing file. Returns long runs of bytes that it has in common with the base. Throws the errors of `appendChanges`, of QEMU’s tools and of `exec`.
 */
export async function deltaAppend(options: RepackOptions, delta: Delta): Promise<CommonRun[]> {
  const { basePath, base, overlayPath, outputPath, signal, onProgress } = options;
  const output = resolve(outputPath);
  // Its threads start while the file is copied.
  const isChanged = base.qcow2 !== null && delta.extents.length > 0;
  await using compressor = isChanged ? await compressorFor(base.qcow2, { path: overlayPath, delta }, signal) : null;
  await cloneFile(basePath, output, signal);
  const grows = delta.virtualSizeBytes > base.virtualSizeBytes;
  if (grows) {
    await using tools = await openQemuTools({ output: { path: output, writable: true } }, options.unprivilegedIds);
    const limits = limitsFor(Math.max(delta.virtualSizeBytes, base.fileSizeBytes));
    const args = ['resize', '-q', '-f', 'qcow2', tools.names.output, String(delta.virtualSizeBytes)];
    await tools.run('qemu-img', args, { limits, signal });
  }
  if (compressor === null) return [];
  const shared = await appendChanges({ outputPath: output, overlayPath, delta, compressor, signal, onProgress });
  // qemu-img does not say which bytes it has changed.
  return grows ? [] : shared;
}
