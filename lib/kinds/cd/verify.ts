import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { isChecksumName } from '../../checksums.ts';
import { ImageBuilderError, messageOf } from '../../errors.ts';
import { readAt } from '../../image/read-at.ts';
import { compareIso } from '../../iso9660/compare.ts';
import type { IsoInspection } from '../../iso9660/inspect.ts';
import { readIsoFile, runOf } from '../../iso9660/read-file.ts';
import type { IsoEntry } from '../../iso9660/tree.ts';
import { checksumAlgorithm, type FileChange, updateChecksums } from '../../medium/lists.ts';
import { openSquashfs, type SquashfsLimits } from '../../squashfs/open.ts';
import type { BootedKernel } from './new-kernel.ts';
import { checkBootedKernels } from './verify-kernels.ts';

/** A medium before the change, and the names of what was changed. */
export interface ChangedMedium {
  readonly path: string;
  readonly medium: IsoInspection;
  readonly layerPath: string;
  /** Paths of all files with new content, the layer among them. */
  readonly changed: ReadonlySet<string>;
  readonly booted: readonly BootedKernel[];
  /** An existing folder that only this build uses. */
  readonly workDirectory: string;
}

const maximumListBytes = 16 * 2 ** 20;
const chunkBytes = 4 * 2 ** 20;

/**
 * Throws `image.output` unless the new medium is as sound as its base, differs from it in the changed files alone, boots in
 * the same ways, and lists the right digests of the changed files; or the reason of the signal.
 */
export async function verifyMedium(path: string, base: ChangedMedium, limits: SquashfsLimits): Promise<void> {
  const { signal } = limits;
  try {
    const made = await compareIso({
      ...{ basePath: base.path, base: base.medium, newPath: path, changed: base.changed, signal },
      maximumBytes: Number.MAX_SAFE_INTEGER,
    });
    await using handle = await open(path, 'r');
    await checkDigests(handle, made, base.changed, signal);
    const { offsetBytes: offset, sizeBytes: length } = runOf(made.files, base.layerPath);
    await openSquashfs({ handle, offset, length }, limits);
    await checkBootedKernels(handle, made.files, base.booted, { ...limits, workDirectory: base.workDirectory });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ImageBuilderError && error.code === 'image.output') throw error;
    const reason = messageOf(error);
    throw new ImageBuilderError('image.output', `the new medium is damaged: ${reason}`, { cause: error });
  }
}

/** The lines of files that have not changed are those of the base. */
async function checkDigests(
  handle: FileHandle,
  { files }: IsoInspection,
  changed: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<void> {
  for (const list of files.keys()) {
    if (list.includes('/') || !isChecksumName(list)) continue;
    const text = (await readIsoFile(handle, files, list, maximumListBytes))?.toString('latin1') ?? '';
    const algorithm = checksumAlgorithm(text);
    if (algorithm === null) continue;
    for (const path of changed) {
      const entry = files.get(path);
      if (entry === undefined || path === list) continue;
      const change: FileChange = { path, hex: await digest(handle, entry, algorithm, signal), isNew: false };
      if (updateChecksums(text, [change]) === text) continue;
      throw new ImageBuilderError('image.output', `/${list} of the new medium has a wrong digest of /${path}`);
    }
  }
}

async function digest(
  handle: FileHandle,
  { extents }: IsoEntry,
  algorithm: string,
  signal: AbortSignal,
): Promise<string> {
  const hash = createHash(algorithm);
  for (const { offsetBytes, sizeBytes } of extents) {
    for (let at = 0; at < sizeBytes; at += chunkBytes) {
      signal.throwIfAborted();
      hash.update(await readAt(handle, offsetBytes + at, Math.min(chunkBytes, sizeBytes - at)));
    }
  }
  return hash.digest('hex');
}
