import { rename, rm, stat } from 'node:fs/promises';
import type { CommonRun } from '../common-run.ts';
import { toImageBuilderError } from '../errors.ts';
import { convert, type RepackOptions } from './convert.ts';
import { type Delta, readDelta } from './delta.ts';
import { deltaAppend, obstacleToDeltaAppend } from './delta-append.ts';

export type { RepackOptions } from './convert.ts';

export interface RepackResult {
  readonly method: 'delta-append' | 'convert';
  /** The reason why everything was converted, in words; only with `convert`. */
  readonly reason?: string;
  /** Long runs of bytes that the file has in common with the base. */
  readonly shared: readonly CommonRun[];
  readonly sizeBytes: number;
}

/**
 * Makes one finished file, a compressed qcow2 or a raw disk, out of a base and the overlay over it: by appending the
 * changes to a copy of the base where that is possible, otherwise, and where that fails, by converting everything. The
 * file appears under `outputPath` whole or not at all; it may not be on the disk yet.
 *
 * Throws `disk.full`, `tool.failed`, `image.corrupt` or `image.truncated` for a damaged overlay, the reason of
 * `signal`, and Node's own errors where the output cannot be put in place.
 */
export async function repack(options: RepackOptions): Promise<RepackResult> {
  const { overlayPath, outputPath, signal } = options;
  signal.throwIfAborted();
  const partialPath = `${outputPath}.partial`;
  const partial = { ...options, outputPath: partialPath };
  try {
    const delta = await readDelta(overlayPath, signal);
    const obstacle = obstacleToDeltaAppend(options, delta);
    const { shared, reason } = obstacle === null ? await tryDeltaAppend(partial, delta) : failedBy(obstacle);
    if (reason !== null) {
      await rm(partialPath, { force: true });
      await convert(partial, delta.virtualSizeBytes);
    }
    await rename(partialPath, outputPath);
    const { size: sizeBytes } = await stat(outputPath);
    const made = { sizeBytes, shared };
    return reason === null ? { method: 'delta-append', ...made } : { method: 'convert', reason, ...made };
  } catch (thrown) {
    await rm(partialPath, { force: true });
    throw thrown;
  }
}

interface Appended {
  readonly shared: readonly CommonRun[];
  /** The reason why nothing could be appended, or null. */
  readonly reason: string | null;
}

const failedBy = (reason: string): Appended => ({ shared: [], reason });

/** Throws errors that would break a full conversion too. */
async function tryDeltaAppend(options: RepackOptions, delta: Delta): Promise<Appended> {
  try {
    return { shared: await deltaAppend(options, delta), reason: null };
  } catch (thrown) {
    options.signal.throwIfAborted();
    const error = toImageBuilderError(thrown);
    if (error.code === 'disk.full') throw error;
    return failedBy(`appending the changes failed: ${error.message}`);
  }
}
