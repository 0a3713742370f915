import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { ImageBuilderError } from '../../errors.ts';
import { type FileFormat, headBytes, recognise, tailBytes, type Wrapping } from '../../file-format.ts';
import { plain } from '../../text.ts';
import { readAt } from '../read-at.ts';
import { decompressByTool, decompressStream, type UnpackLimits } from './decompress.ts';
import { convertForeign } from './foreign.ts';
import { theImage } from './member.ts';
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
/** Deflate's own limit is 1,032; other methods shrink zeros further, and an image is not only zeros. */
const mostRatio = 1000;
const freeBytes = 2 ** 30;

/**
 * The disk image in an untrusted file: the path of the file itself where it is not wrapped, otherwise of a new file in
 * the work directory. The result may be anything; its inspection follows. Throws the errors of `decompressStream` and
 * `convertForeign`, and those of archives.
 */
export async function unwrapImage(path: string, options: UnwrapOptions): Promise<string> {
  let current = path;
  for (let layer = 1; ; layer += 1) {
    const format = await recogniseFile(current);
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

async function recogniseFile(path: string): Promise<FileFormat> {
  await using handle = await open(path, 'r');
  const { size } = await handle.stat();
  const head = await readAt(handle, 0, Math.min(size, headBytes));
  const tail = await readAt(handle, Math.max(0, size - tailBytes), Math.min(size, tailBytes));
  return recognise({ head, tail });
}

async function unwrap(path: string, wrapping: Wrapping, outputPath: string, options: UnwrapOptions): Promise<void> {
  await using input = await open(path, 'r');
  const { size } = await input.stat();
  const maximumBytes = Math.min(options.maximumBytes, freeBytes + mostRatio * size);
  const limits = { ...options, maximumBytes };
  switch (wrapping) {
    case 'xz':
    case 'bzip2':
      return await decompressByTool(path, wrapping, outputPath, limits);
    case 'vmdk':
    case 'vdi':
    case 'vhd':
    case 'vhdx':
      return await convertForeign(path, wrapping, outputPath, options);
    default: {
      await using output = await open(outputPath, 'wx', 0o600);
      if (wrapping === 'zip') return await extractFromZip(input, size, output, limits);
      if (wrapping === 'tar') return await extractFromTar(input, size, output, limits);
      await decompressStream(input, { offset: 0, sizeBytes: size }, wrapping, output, limits);
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
  const range = { offset: image.dataOffset, sizeBytes: image.sizeBytes };
  const written = await decompressStream(input, range, image.method, output, limits, (chunk) => {
    checksum = crc32(chunk, checksum);
  });
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
  let offset = image.dataOffset;
  for (const { contentOffset, sizeBytes } of image.extents) {
    await decompressStream(input, { offset, sizeBytes }, 'stored', output, limits, () => undefined, contentOffset);
    offset += sizeBytes;
  }
  await output.truncate(image.contentBytes);
}
