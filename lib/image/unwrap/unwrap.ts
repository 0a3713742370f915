import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { ImageBuilderError } from '../../errors.ts';
import type { FileFormat, Wrapping } from '../../file-format.ts';
import { plain } from '../../text.ts';
import { recogniseFile } from '../recognise-file.ts';
import { type UnpackLimits, unpack } from './decompress.ts';
import { decompressFile, mostUnpacked } from './decompress-file.ts';
import { convertForeign } from './foreign.ts';
import { theImage } from './member.ts';
import { writeUnpacked } from './sparse-file.ts';
import { readTarMembers } from './tar.ts';
import { readZipMembers } from './zip.ts';

export interface UnwrapOptions extends UnpackLimits {
  /** An existing folder that only this build uses; the results lie there. */
  readonly workDirectory: string;
  /** Called when something is unwrapped: `an xz file`. */
  readonly onLayer: (name: string) => void;
}

/** Every format that is unwrapped. */
export const wrappings: readonly Wrapping[] = [
  ...(['gzip', 'zstd', 'xz', 'bzip2', 'zip', 'tar'] as const),
  ...(['vmdk', 'vdi', 'vhd', 'vhdx'] as const),
];

/** An image in an archive in a compressed file in another format: nobody publishes more. */
const mostLayers = 4;
/**
 * The disk image in an untrusted file: the path of the file itself where it is not wrapped, otherwise of a new file in
 * the work directory. The result may be anything; its inspection follows. Throws the errors of `unpack`,
 * `decompressByTool`, `convertForeign` and archives, or `image.too_large`.
 */
export async function unwrapImage(path: string, options: UnwrapOptions): Promise<string> {
  let current = path;
  for (let layer = 1; ; layer += 1) {
    const format = await formatOf(current);
    const wrapping = wrappings.find((each) => each === format.format);
    if (wrapping === undefined) return current;
    if (layer > mostLayers) {
      throw new ImageBuilderError('image.unsupported', `the image is wrapped more than ${mostLayers} times`);
    }
    options.onLayer(format.name);
    const next = join(options.workDirectory, `unwrapped-${layer}`);
    await rm(next, { force: true });
    await unwrap(current, wrapping, next, options);
    if (current !== path) await rm(current);
    current = next;
  }
}

async function formatOf(path: string): Promise<FileFormat> {
  await using handle = await open(path, 'r');
  return await recogniseFile(handle, (await handle.stat()).size);
}

async function unwrap(path: string, wrapping: Wrapping, outputPath: string, options: UnwrapOptions): Promise<void> {
  switch (wrapping) {
    case 'gzip':
    case 'zstd':
    case 'xz':
    case 'bzip2':
      return await decompressFile(path, wrapping, outputPath, options);
    case 'vmdk':
    case 'vdi':
    case 'vhd':
    case 'vhdx':
      return await convertForeign(path, wrapping, outputPath, options);
    default: {
      await using input = await open(path, 'r');
      const { size } = await input.stat();
      const limits = { ...options, maximumBytes: mostUnpacked(options.maximumBytes, size) };
      await using output = await open(outputPath, 'wx', 0o600);
      if (wrapping === 'zip') return await extractFromZip(input, size, output, limits);
      return await extractFromTar(input, size, output, limits);
    }
  }
}

async function extractFromZip(
  input: FileHandle,
  size: number,
  output: FileHandle,
  limits: UnpackLimits,
): Promise<void> {
  const image = theImage(await readZipMembers(input, size), 'zip archive');
  let checksum = 0;
  async function* checked(content: AsyncIterable<Buffer>) {
    for await (const chunk of content) {
      checksum = crc32(chunk, checksum);
      yield chunk;
    }
  }
  const range = { offset: image.dataOffset, sizeBytes: image.sizeBytes };
  const content = unpack(input, range, image.method, limits);
  const written = await writeUnpacked(output, checked(content), limits.maximumBytes);
  if (written === image.contentBytes && checksum === image.crc32) return;
  throw new ImageBuilderError('image.corrupt', `the zip archive is damaged: ${plain(image.name)} has another checksum`);
}

async function extractFromTar(
  input: FileHandle,
  size: number,
  output: FileHandle,
  limits: UnpackLimits,
): Promise<void> {
  const image = theImage(await readTarMembers(input, size, limits.signal), 'archive');
  if (image.contentBytes > limits.maximumBytes) {
    throw new ImageBuilderError('image.too_large', `${plain(image.name)} has ${image.contentBytes} bytes`);
  }
  let done = 0;
  for (const { contentOffset, sizeBytes } of image.extents) {
    const before = done;
    const onProgress = (fraction: number) =>
      limits.onProgress((before + fraction * sizeBytes) / Math.max(1, image.sizeBytes));
    const range = { offset: image.dataOffset + before, sizeBytes };
    const content = unpack(input, range, 'stored', { signal: limits.signal, onProgress });
    await writeUnpacked(output, content, limits.maximumBytes, contentOffset);
    done += sizeBytes;
  }
  await output.truncate(image.contentBytes);
}
