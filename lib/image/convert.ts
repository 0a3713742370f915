import type { IdRange } from '../privileges.ts';
import type { ImageInspection } from './inspection.ts';
import { limitsFor, openQemuTools } from './qemu-img.ts';

export interface RepackOptions {
  readonly basePath: string;
  /** The inspection of the base. */
  readonly base: ImageInspection;
  /** The overlay over the base, with every change in it; no process has it open. */
  readonly overlayPath: string;
  readonly outputPath: string;
  readonly outputFormat: 'qcow2' | 'raw';
  /** Method of a full conversion to qcow2. zlib can be read by every QEMU, zstd by QEMU 5.1 or later. */
  readonly compression: 'zlib' | 'zstd';
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
  /** Called with the finished part, 0 to 1. */
  readonly onProgress: (fraction: number) => void;
}

/**
 * Writes the disk of an overlay and its base as a new, compressed qcow2 file of version 3 without a backing file, or as
 * a raw file with holes where the disk is zero.
 * `diskBytes` is the size of the overlay's disk. Throws
 * `tool.failed`, `disk.full` or the reason of `signal`.
 */
export async function convert(options: RepackOptions, diskBytes = options.base.virtualSizeBytes): Promise<void> {
  const { basePath, base, overlayPath, outputPath, outputFormat, compression, signal, onProgress } = options;
  const files = {
    base: { path: basePath, writable: false },
    overlay: { path: overlayPath, writable: false },
    output: { path: outputPath, writable: true },
  };
  await using tools = await openQemuTools(files, options.unprivilegedIds);
  const file = (filename: string) => ({ driver: 'file', filename });
  const backing = { driver: base.format, file: file(tools.names.base) };
  const disk = { driver: 'qcow2', backing, file: file(tools.names.overlay) };
  // -W lets the eight coroutines write out of order: without it they compress no faster than one.
  const args = ['convert', '-p', '-m', '8', '-W', '-t', 'unsafe', '-O', outputFormat];
  if (outputFormat === 'qcow2') args.push('-c', '-o', `compat=1.1,compression_type=${compression}`);
  args.push(`json:${JSON.stringify(disk)}`, tools.names.output);
  await tools.run('qemu-img', args, {
    limits: limitsFor(Math.max(diskBytes, base.fileSizeBytes)),
    signal,
    onLine: convertProgress(onProgress),
  });
}

/** Turns the meter of `qemu-img convert -p`, such as `    (12.34/100%)`, into fractions. */
export function convertProgress(onProgress: (fraction: number) => void): (line: string) => void {
  return (line) => {
    const percent = /\((\d+(?:\.\d+)?)\/100%\)/.exec(line)?.[1];
    if (percent !== undefined) onProgress(Math.min(1, Number(percent) / 100));
  };
}
