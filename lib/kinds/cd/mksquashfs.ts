import { Readable } from 'node:stream';
import { ImageBuilderError, saysNoSpace } from '../../errors.ts';
import { ExecError, exec } from '../../exec.ts';
import { lendToNewUser } from '../../image/lent-images.ts';
import type { IdRange } from '../../privileges.ts';
import type { Squashfs } from '../../squashfs/open.ts';

export interface PackingOptions {
  /** A tar archive, which may be a stranger's. */
  readonly archive: AsyncIterable<Buffer>;
  /** A new file. */
  readonly outputPath: string;
  /** The result has its compressor, options and block size. */
  readonly like: Pick<Squashfs, 'options' | 'superblock'>;
  /** More arguments of mksquashfs. */
  readonly more?: readonly string[];
  /** Largest result. */
  readonly maximumBytes: number;
  /** Bytes of files that are compressed, at most. */
  readonly contentBytes: number;
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

const MiB = 2 ** 20;
/** The slowest compressor, xz, packs some 5 MB a second. */
const bytesPerSecond = MiB;
const memory = '512M';

/**
 * Packs an archive as a SquashFS by mksquashfs, as a user that can open the new file and nothing else; nothing of it is
 * unpacked to the worker's file systems. Throws `tool.failed`, `disk.full`, the error of the archive, or the reason of the
 * signal.
 */
export async function packArchive(options: PackingOptions): Promise<void> {
  const { archive, outputPath, like, more = [], maximumBytes, contentBytes, unprivilegedIds, signal } = options;
  await using lent = await lendToNewUser({ output: { path: outputPath, writable: true } }, unprivilegedIds);
  const { names, descriptors: inherited, user } = lent;
  const words = [
    ...[`--cpu=${120 + Math.ceil(contentBytes / bytesPerSecond)}`, `--data=${2048 * MiB}`, `--fsize=${maximumBytes}`],
    ...['--core=0', '--', 'mksquashfs', '-', names.output, '-tar', '-noappend', '-quiet', '-no-progress'],
    ...['-mem', memory, '-b', String(like.superblock.blockSizeBytes), ...like.options.arguments, ...more],
  ];
  const failed = new AbortController();
  const input = Readable.from(watched(archive, failed), { objectMode: false });
  try {
    await exec('prlimit', words, { user, inherited, input, signal: AbortSignal.any([signal, failed.signal]) });
  } catch (error) {
    throw explain(error);
  } finally {
    input.destroy();
  }
  failed.signal.throwIfAborted();
}

/** Aborts where the archive cannot be read to its end: mksquashfs would take what came for the whole. */
async function* watched(archive: AsyncIterable<Buffer>, failed: AbortController): AsyncGenerator<Buffer> {
  try {
    yield* archive;
  } catch (error) {
    failed.abort(error);
  }
}

function explain(error: unknown): unknown {
  if (!(error instanceof ExecError)) return error;
  const options = { cause: error, logTail: error.logTail };
  return saysNoSpace(error.stderr)
    ? new ImageBuilderError(
        'disk.full',
        'mksquashfs found no space left on the device that the worker works on',
        options,
      )
    : new ImageBuilderError('tool.failed', `mksquashfs failed: ${error.logTail.at(-1) ?? 'without a word'}`, options);
}
