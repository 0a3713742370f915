import { ImageBuilderError } from '../errors.ts';

export interface MirrorOptions {
  readonly signal: AbortSignal;
  readonly onNotice?: (message: string) => void;
}

/**
 * Tries the mirrors of one file in order; the first that does not fail gives the result. When all fail, throws the
 * only error, or one that names all; or the reason of the signal. A full disk is no mirror's fault and ends it at once.
 */
export async function tryMirrors<Mirror, Result>(
  mirrors: readonly Mirror[],
  attempt: (mirror: Mirror) => Promise<Result>,
  { signal, onNotice }: MirrorOptions,
): Promise<Result> {
  const failures: ImageBuilderError[] = [];
  for (const mirror of mirrors) {
    try {
      return await attempt(mirror);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof ImageBuilderError) || error.code === 'disk.full') throw error;
      failures.push(error);
      if (failures.length < mirrors.length) onNotice?.(`${error.message}; trying the next mirror`);
    }
  }
  const [first, ...others] = failures;
  if (first === undefined) throw new ImageBuilderError('internal', 'a download needs at least one URL');
  if (others.length === 0) throw first;
  // A failure that a retry can help with decides, so that a dead mirror does not hide one that is only down.
  const telling = failures.find((failure) => failure.retryable) ?? first;
  const every = failures.map(({ message }) => message).join('; ');
  throw new ImageBuilderError(telling.code, `no mirror has the file: ${every}`, { cause: telling });
}
