import { ImageBuilderError, toImageBuilderError } from '../errors.ts';
import type { IdRange } from '../privileges.ts';
import { inspectImage } from './inspect.ts';
import type { ImageInspection } from './inspection.ts';
import { describePartitions } from './layout.ts';
import type { Partition } from './partition.ts';
import { limitsFor, openQemuTools } from './qemu-img.ts';

export interface VerifyOptions {
  /** The format that the finished image must have. */
  readonly format: ImageInspection['format'];
  readonly base: ImageInspection;
  readonly maximumVirtualBytes: number;
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/** Leaked clusters waste space and harm nothing; a base that has some passes them on. */
const checkPassed: readonly number[] = [0, 3];

/**
 * Checks a finished image as strictly as one from outside: by inspection, by `qemu-img check` where it is a
 * qcow2, and by comparing size and partitions of its disk with the base's. Throws `image.output` where it does not pass, or the reason of `signal`.
 */
export async function verifyImage(path: string, options: VerifyOptions): Promise<ImageInspection> {
  const { format, base, maximumVirtualBytes, signal } = options;
  try {
    const image = await inspectImage(path, { maximumVirtualBytes, signal });
    if (image.format !== format) throw failed(`it is no ${format} image`);
    if (image.virtualSizeBytes !== base.virtualSizeBytes) {
      throw failed(`its disk has ${image.virtualSizeBytes} bytes, the base ${base.virtualSizeBytes}`);
    }
    if (tableOf(image) !== tableOf(base)) {
      throw failed(
        `its partitions differ from those of the base: ${describePartitions(image.partitions)}; in the base: ${describePartitions(base.partitions)}`,
      );
    }
    if (format === 'raw') return image;
    const { unusual = [] } = image.qcow2 ?? {};
    if (unusual.length > 0) throw failed(`it has ${unusual.join(', ')}`);
    await using tools = await openQemuTools({ image: { path, writable: false } }, options.unprivilegedIds);
    await tools.run('qemu-img', ['check', '-q', '-f', 'qcow2', tools.names.image], {
      limits: limitsFor(image.virtualSizeBytes),
      signal,
      okExitCodes: checkPassed,
    });
    return image;
  } catch (thrown) {
    signal.throwIfAborted();
    const error = toImageBuilderError(thrown);
    throw error.code === 'image.output' ? error : failed(error.message, error);
  }
}

/** The partition table without the content of the partitions: a build may well change a label. */
function tableOf({ partitionTable, partitions }: ImageInspection): string {
  const entries = partitions.map(({ fileSystem: _content, ...entry }: Partition) => entry);
  return JSON.stringify([partitionTable, entries]);
}

function failed(message: string, cause?: unknown): ImageBuilderError {
  return new ImageBuilderError('image.output', `the finished image failed its check: ${message}`, { cause });
}
