import { type FileHandle, open } from 'node:fs/promises';
import { z } from 'zod';
import { ImageBuilderError } from '../../errors.ts';
import { convertProgress } from '../convert.ts';
import { limitsFor, openQemuTools } from '../qemu-img.ts';
import { readAt, readLittle } from '../read-at.ts';
import type { UnpackLimits } from './decompress.ts';

/** Formats of disk images that are turned into a raw one: VMware's, VirtualBox's, and Microsoft's two. */
export type ForeignFormat = 'vmdk' | 'vdi' | 'vhd' | 'vhdx';

/** The names that QEMU has for them. */
const drivers: Readonly<Record<ForeignFormat, string>> = { vmdk: 'vmdk', vdi: 'vdi', vhd: 'vpc', vhdx: 'vhdx' };

const Information = z.object({ 'virtual-size': z.int().nonnegative() });

/**
 * Converts an untrusted disk image into a sparse raw one. Throws `image.unsupported` for one that needs other files,
 * `image.too_large`, `image.corrupt` where QEMU cannot read it, `disk.full`, `tool.failed`, or the reason of the signal.
 */
export async function convertForeign(
  inputPath: string,
  format: ForeignFormat,
  outputPath: string,
  { maximumBytes, unprivilegedIds, signal, onProgress }: UnpackLimits,
): Promise<void> {
  await assertAlone(inputPath, format);
  const files = { input: { path: inputPath, writable: false }, output: { path: outputPath, writable: true } };
  await using tools = await openQemuTools(files, unprivilegedIds);
  const disk = { driver: drivers[format], file: { driver: 'file', filename: tools.names.input } };
  const image = `json:${JSON.stringify(disk)}`;
  const run = async (args: readonly string[], sizeBytes: number, onLine?: (line: string) => void) => {
    const options = { limits: limitsFor(sizeBytes), signal, ...(onLine === undefined ? {} : { onLine }) };
    return await tools.run('qemu-img', args, options).catch((error: unknown) => {
      throw asDamage(error, format);
    });
  };
  const { stdout } = await run(['info', '--output=json', image], 0);
  const { 'virtual-size': sizeBytes } = Information.parse(JSON.parse(stdout));
  if (sizeBytes > maximumBytes) {
    throw new ImageBuilderError(
      'image.too_large',
      `the disk of the ${format.toUpperCase()} image has ${sizeBytes} bytes; at most ${maximumBytes} are allowed`,
    );
  }
  await run(
    ['convert', '-p', '-t', 'unsafe', '-O', 'raw', image, tools.names.output],
    sizeBytes,
    convertProgress(onProgress),
  );
}

function asDamage(error: unknown, format: ForeignFormat): unknown {
  if (!(error instanceof ImageBuilderError) || error.code !== 'tool.failed') return error;
  if (!/Could not open|Invalid|corrupt|unsupported|error while reading/i.test(error.message)) return error;
  const last = error.logTail.at(-1) ?? '';
  const words = last.slice(last.lastIndexOf(': ') + 1).trim();
  return new ImageBuilderError('image.corrupt', `the ${format.toUpperCase()} image cannot be read: ${words}`, {
    cause: error,
  });
}

/**
 * QEMU opens the files that these formats name: parents of images that hold only differences, and a VMDK's parts. They
 * would be files of the worker. Throws `image.unsupported` where the image is not one file on its own.
 */
async function assertAlone(path: string, format: ForeignFormat): Promise<void> {
  await using handle = await open(path, 'r');
  const { size } = await handle.stat();
  const head = await readAt(handle, 0, Math.min(size, 64 * 1024));
  if (format === 'vmdk') await checkVmdk(handle, head, size);
  // VirtualBox's and Microsoft's types of image: 4 holds only differences to a parent.
  if (format === 'vdi' && (head.length < 512 || head.readUInt32LE(76) === 4)) throw needsOthers(format);
  if (format === 'vhd') await checkVhd(handle, head, size);
  // QEMU refuses a VHDX with a parent by itself.
}

const sectorBytes = 512;

/**
 * A VMDK in one file: a sparse header (VMware's "Virtual Disk Format 5.0"), in which a capacity of 0 would make QEMU
 * read the description instead, with the names of other files, and a description without a parent.
 */
async function checkVmdk(handle: FileHandle, head: Buffer, size: number): Promise<void> {
  if (head.length < sectorBytes || head.toString('latin1', 0, 4) !== 'KDMV') throw needsOthers('vmdk');
  if (readLittle(head, 12) === 0) throw needsOthers('vmdk');
  const offset = readLittle(head, 28) * sectorBytes;
  const length = readLittle(head, 36) * sectorBytes;
  if (offset === 0) return;
  if (!Number.isSafeInteger(offset + length) || offset + length > size || length > 2 ** 20) {
    throw new ImageBuilderError('image.corrupt', 'the VMDK image is damaged: its description lies outside of it');
  }
  const description = (await readAt(handle, offset, length)).toString('latin1').toLowerCase();
  if (description.includes('parentfilenamehint') || !/parentcid\s*=\s*ffffffff/.test(description)) {
    throw needsOthers('vmdk');
  }
}

/** A VHD's footer is at its end, and one that is not of fixed size has a copy at its beginning. */
async function checkVhd(handle: FileHandle, head: Buffer, size: number): Promise<void> {
  const copy = head.toString('latin1', 0, 8) === 'conectix' ? head : null;
  const footer = copy ?? (await readAt(handle, Math.max(0, size - sectorBytes), Math.min(size, sectorBytes)));
  if (footer.length < 64 || ![2, 3].includes(footer.readUInt32BE(60))) throw needsOthers('vhd');
}

function needsOthers(format: ForeignFormat): ImageBuilderError {
  return new ImageBuilderError(
    'image.unsupported',
    `the ${format.toUpperCase()} image is not one file on its own (it has a parent or parts): convert it with ` +
      'qemu-img convert -O qcow2, and give the URL of the result',
  );
}
