import { ImageBuilderError, saysNoSpace } from '../../errors.ts';
import { ExecError, exec } from '../../exec.ts';
import { lendToNewUser } from '../../image/lent-images.ts';
import type { IdRange } from '../../privileges.ts';
import type { Squashfs } from '../../squashfs/open.ts';

export interface ChangesOptions {
  /** The tar of the changes, as a guest hands it out; a stranger's. */
  readonly changesPath: string;
  /** A new file. */
  readonly deltaPath: string;
  /** The layer that the changes are to be laid over. */
  readonly base: Pick<Squashfs, 'options' | 'superblock'>;
  /** Largest result. */
  readonly maximumBytes: number;
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

const MiB = 2 ** 20;
/** The slowest compressor, xz, packs some 5 MB a second. */
const bytesPerSecond = MiB;

/**
 * Packs changes as a SquashFS that fits a layer: with its compressor, options and block size. mksquashfs reads the tar as a
 * user that can open the two files and nothing else; nothing of it is unpacked to the worker's file systems. Throws
 * `tool.failed`, `disk.full`, or the reason of the signal.
 */
export async function packChanges(options: ChangesOptions): Promise<void> {
  const { changesPath, deltaPath, base, maximumBytes, unprivilegedIds, signal } = options;
  const files = { changes: { path: changesPath, writable: false }, delta: { path: deltaPath, writable: true } };
  await using lent = await lendToNewUser(files, unprivilegedIds);
  const { names, descriptors, user } = lent;
  const cpuSeconds = 120 + Math.ceil(maximumBytes / bytesPerSecond);
  const limits = [`--cpu=${cpuSeconds}`, `--data=${2048 * MiB}`, `--fsize=${maximumBytes}`, '--core=0', '--'];
  const packing = [
    ...['-tar', '-noappend', '-quiet', '-no-progress', '-mem', '512M', '-b', String(base.superblock.blockSizeBytes)],
    ...base.options.arguments,
  ];
  try {
    await exec(
      'prlimit',
      [
        ...limits,
        'sh',
        '-c',
        'changes=$0 && exec mksquashfs - "$@" <"$changes"',
        names.changes,
        names.delta,
        ...packing,
      ],
      { user, signal, inherited: descriptors },
    );
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    if (saysNoSpace(error.stderr)) {
      throw new ImageBuilderError(
        'disk.full',
        'mksquashfs found no space left on the device that the worker works on',
        {
          cause: error,
        },
      );
    }
    throw new ImageBuilderError('tool.failed', `mksquashfs failed: ${error.logTail.at(-1) ?? 'without a word'}`, {
      cause: error,
    });
  }
}
