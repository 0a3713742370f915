import { resolve } from 'node:path';
import { ImageBuilderError } from '../errors.ts';
import { exec } from '../exec.ts';
import { convertProgress, type RepackOptions } from './convert.ts';
import type { Delta } from './delta.ts';
import { limitsFor, openQemuTools } from './qemu-img.ts';

/** qemu-io takes no request of 2 GiB or more. */
const maximumRequestBytes = 2 ** 30;

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
 * no backing file and is checked. Throws the errors of QEMU’s tools and of `exec`, `image.output` where the check
 * fails.
 */
export async function deltaAppend(options: RepackOptions, delta: Delta): Promise<void> {
  const { basePath, base, overlayPath, outputPath, signal, onProgress } = options;
  const output = resolve(outputPath);
  const limits = limitsFor(Math.max(delta.virtualSizeBytes, base.fileSizeBytes));
  // cp keeps holes, clones where the file system can, and can be killed, unlike a copy within this process. It does not
  // keep the mode: the base is read-only, and a worker that is not root could not write to such a copy.
  await exec('cp', ['--no-preserve=mode', '--reflink=auto', '--sparse=auto', '--', resolve(basePath), output], {
    signal,
  });
  if (delta.extents.length === 0 && delta.virtualSizeBytes === base.virtualSizeBytes) return;
  const files = { overlay: { path: overlayPath, writable: false }, output: { path: output, writable: true } };
  await using tools = await openQemuTools(files, options.unprivilegedIds);
  const { names } = tools;
  if (delta.virtualSizeBytes > base.virtualSizeBytes) {
    const args = ['resize', '-q', '-f', 'qcow2', names.output, String(delta.virtualSizeBytes)];
    await tools.run('qemu-img', args, { limits, signal });
  }

  // QEMU cannot overwrite an allocated cluster with compressed data, and the changes to zeros have to arrive too: so
  // every changed cluster is freed first, after which it reads as zeros (also in version 2, which has no zero flag).
  const discards = delta.extents.flatMap(({ offsetBytes, sizeBytes }) =>
    Array.from({ length: Math.ceil(sizeBytes / maximumRequestBytes) }, (_, index) => {
      const start = offsetBytes + index * maximumRequestBytes;
      return `discard ${start} ${Math.min(maximumRequestBytes, offsetBytes + sizeBytes - start)}\n`;
    }),
  );
  let refused: string | undefined;
  await tools.run('qemu-io', ['-f', 'qcow2', '-d', 'unmap', '-t', 'unsafe', names.output], {
    limits,
    signal,
    input: discards.join(''),
    onLine: (line) => {
      if (/failed|error|invalid|unknown/i.test(line)) refused ??= line;
    },
  });
  if (refused !== undefined) throw new ImageBuilderError('tool.failed', `qemu-io discard failed: ${refused}`);

  if (delta.dataBytes > 0) {
    // Without its backing file the overlay has only the changes; unallocated clusters are not written (no -S 0).
    const changes = { driver: 'qcow2', backing: null, file: { driver: 'file', filename: names.overlay } };
    const args = ['convert', '-p', '-n', '-c', '-m', '8', '-W', '--target-is-zero', '-t', 'unsafe', '-O', 'qcow2'];
    await tools.run('qemu-img', [...args, `json:${JSON.stringify(changes)}`, names.output], {
      limits,
      signal,
      onLine: convertProgress(onProgress),
    });
  }
  await tools.run('qemu-img', ['check', '-q', '-f', 'qcow2', names.output], { limits, signal, okExitCodes: [0, 3] });
}
