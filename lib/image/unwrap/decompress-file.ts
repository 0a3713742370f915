import { open } from 'node:fs/promises';
import { decompressByTool, type UnpackLimits, unpack } from './decompress.ts';
import { writeUnpacked } from './sparse-file.ts';

/** Deflate's own limit is 1,032; other methods shrink zeros further, and an image is not only zeros. */
const mostRatio = 1000;
const freeBytes = 2 ** 30;

/** Bytes that a file of this size may unpack to. */
export function mostUnpacked(maximumBytes: number, packedBytes: number): number {
  return Math.min(maximumBytes, freeBytes + mostRatio * packedBytes);
}

/** Decompresses an untrusted file into a new one. Throws as `unpack` and `decompressByTool` do, or `image.too_large`. */
export async function decompressFile(
  path: string,
  method: 'gzip' | 'zstd' | 'xz' | 'bzip2',
  outputPath: string,
  limits: UnpackLimits,
): Promise<void> {
  await using input = await open(path, 'r');
  const { size: sizeBytes } = await input.stat();
  const maximumBytes = mostUnpacked(limits.maximumBytes, sizeBytes);
  if (method === 'xz' || method === 'bzip2') {
    return await decompressByTool(path, method, outputPath, { ...limits, maximumBytes });
  }
  await using output = await open(outputPath, 'wx', 0o600);
  await writeUnpacked(output, unpack(input, { offset: 0, sizeBytes }, method, limits), maximumBytes);
}
