import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../exec.ts';
import type { IdRange } from '../privileges.ts';
import { lendToNewUser } from './lent-images.ts';
import { createOverlay } from './overlay.ts';
import { limitsFor, openQemuTools } from './qemu-img.ts';

export interface ScratchOptions {
  /** A file of any content, which is only read; it must stay where it is for as long as the overlay is in use. */
  readonly basePath: string;
  readonly baseBytes: number;
  readonly overlayPath: string;
  /** Size of the file system. */
  readonly scratchBytes: number;
  /** An existing folder that only this build uses. */
  readonly workDirectory: string;
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/** The scratch file system inside an overlay. */
export interface ScratchRegion {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** Where the scratch file system begins: its clusters are not those of the base. */
const alignmentBytes = 1024 * 1024;

/** The place of the scratch file system in an overlay that `createScratchOverlay` makes with these sizes. */
export function scratchRegion({
  baseBytes,
  scratchBytes,
}: Pick<ScratchOptions, 'baseBytes' | 'scratchBytes'>): ScratchRegion {
  return { offsetBytes: Math.ceil(baseBytes / alignmentBytes) * alignmentBytes, sizeBytes: scratchBytes };
}

/**
 * Creates a qcow2 file that reads as the base, with an empty ext4 behind it for changes, and resolves with the place of
 * that. Throws `tool.failed`, `disk.full` or the reason of `signal`.
 */
export async function createScratchOverlay(options: ScratchOptions): Promise<ScratchRegion> {
  const { basePath, overlayPath, scratchBytes, unprivilegedIds, signal } = options;
  const region = scratchRegion(options);
  const { offsetBytes } = region;
  const virtualSizeBytes = offsetBytes + scratchBytes;
  const base = { format: 'raw', virtualSizeBytes, qcow2: null } as const;
  await createOverlay({ basePath, base, overlayPath, virtualSizeBytes, signal });
  const scratchPath = join(options.workDirectory, 'scratch.raw');
  try {
    await makeFileSystem(scratchPath, options);
    const files = {
      base: { path: basePath, writable: false },
      scratch: { path: scratchPath, writable: false },
      overlay: { path: overlayPath, writable: true },
    };
    await using tools = await openQemuTools(files, unprivilegedIds);
    const { names } = tools;
    const target = [
      ...['driver=raw', `offset=${offsetBytes}`, `size=${scratchBytes}`, 'file.driver=qcow2'],
      ...['file.file.driver=file', `file.file.filename=${names.overlay}`],
      ...['file.backing.driver=raw', 'file.backing.file.driver=file', `file.backing.file.filename=${names.base}`],
    ].join(',');
    const convert = ['convert', '-n', '--target-is-zero', '-t', 'unsafe', '-f', 'raw', '--target-image-opts'];
    const limits = limitsFor(virtualSizeBytes);
    await tools.run('qemu-img', [...convert, names.scratch, target], { limits, signal });
  } finally {
    await rm(scratchPath, { force: true });
  }
  return region;
}

/** An ext4 without a journal: after a crash, nobody reads it. */
async function makeFileSystem(path: string, { scratchBytes, unprivilegedIds, signal }: ScratchOptions): Promise<void> {
  await using file = await open(path, 'wx', 0o600);
  await file.truncate(scratchBytes);
  await using lent = await lendToNewUser({ scratch: { path, writable: true } }, unprivilegedIds);
  const options = ['-O', '^has_journal,^resize_inode', '-m', '0', '-E', 'lazy_itable_init=1,nodiscard,root_owner=0:0'];
  const { user, descriptors, names } = lent;
  await exec('mke2fs', ['-q', '-F', '-t', 'ext4', ...options, names.scratch], { user, inherited: descriptors, signal });
}
