import { waitFor, within } from '../../async.ts';
import { ImageBuilderError } from '../../errors.ts';
import { execInside } from './namespace.ts';
import type { Supervision } from './supervision.ts';

/** How long the supervisor's word may take to arrive, and the disk to answer: a daemon that hangs never does. */
const wordLimitMs = 10_000;

export interface OpenGuest {
  readonly supervision: Supervision;
  readonly exportPath: string;
  /** Aborted when the build is to end. */
  readonly signal: AbortSignal;
}

/**
 * What `error` of work inside the guest comes of. With its disk gone under it, work fails in ways that read like a
 * damaged image or a bad package, and may do so before the supervisor's word arrives. So the disk itself is asked:
 * where it does not answer, or the namespaces are gone, the result is the reason of `supervision.lost`. Where the
 * build is to end, it is the reason for that; otherwise `error`.
 */
export async function explainLoss(error: unknown, { supervision, exportPath, signal }: OpenGuest): Promise<unknown> {
  const { lost, processId } = supervision;
  if (!lost.aborted && !signal.aborted) {
    if (await within(answers(processId, exportPath), wordLimitMs).catch(() => false)) return error;
    await waitFor(() => lost.aborted || signal.aborted, wordLimitMs);
  }
  if (signal.aborted) return signal.reason;
  if (lost.aborted) return lost.reason;
  return new ImageBuilderError('guest.failed', 'the image cannot be kept open: its disk is gone', { cause: error });
}

/** Opening the disk asks the storage daemon, unlike looking at what the kernel remembers of it. */
async function answers(processId: number, exportPath: string): Promise<boolean> {
  return await execInside(processId, ['sh', '-c', ': <"$1"', 'open', exportPath]).then(
    () => true,
    () => false,
  );
}
