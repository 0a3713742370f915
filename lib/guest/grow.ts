import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError } from '../errors.ts';
import { ExecError } from '../exec.ts';
import type { Partition } from '../image/partition.ts';
import type { GuestScript } from './guest.ts';

/** Lets the root file system take up a partition that has become larger, while it is mounted. */

/** A program for perl, with the mount point and the arguments of `growArguments`. */
export const growProgram = join(import.meta.dirname, 'scripts/grow.pl');

export function growArguments({ fileSystem, sizeBytes }: Partition): string[] {
  return [fileSystem?.type ?? '', String(sizeBytes)];
}

/** The same by the image's own perl, which every system with dpkg has. */
export async function growScript(root: Partition): Promise<GuestScript> {
  return {
    name: 'grow',
    text: 'exec perl "$JOB/grow.pl" / "$@"\n',
    files: { 'grow.pl': await readFile(growProgram) },
    arguments: growArguments(root),
    timeoutMs: 600_000,
  };
}

/** Throws `image.unsupported` unless the root is the partition that has become larger, the last one of the disk. */
export function assertGrows(root: Partition, grown: number): void {
  if (root.number === grown) return;
  const message = `disk_size cannot be met: the root is partition ${root.number}, and partition ${grown} lies behind it`;
  throw new ImageBuilderError('image.unsupported', message);
}

/** `image.unsupported` where the kernel has refused; any other error as it is. */
export function growError(error: unknown, { fileSystem }: Partition): unknown {
  if (!(error instanceof ExecError) || error.exitCode === undefined || error.exitCode > 128) return error;
  const reason = error.logTail.at(-1) ?? 'no reason is given';
  const message = `disk_size cannot be met: the kernel does not make the ${fileSystem?.type} file system larger (${reason})`;
  return new ImageBuilderError('image.unsupported', message, { cause: error });
}
