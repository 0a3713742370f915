import { within } from '../../async.ts';
import { ImageBuilderError } from '../../errors.ts';
import { waitFor } from '../../wait-for.js';
import { execInside } from './namespace.ts';
import type { Supervision } from './supervision.ts';

/** Longest wait for the supervisor's message, and for the disk to answer: a daemon that hangs never does. */
const wordLimitMs = 10_000;

export interface OpenGuest {
  readonly supervision: Supervision;
  readonly exportPath: string;
  /** Aborted when the build has to end. */
  readonly signal: AbortSignal;
}

/**
 * Finds the cause of `error`, which work inside the guest has thrown. When its disk is lost, work fails in ways that
 * look like a damaged image or a bad package, and may do so before the supervisor's message arrives. So this asks the
 * disk itself: where it does not answer, or the namespaces are gone, the result is the reason of `supervision.lost`.
 * Where the build has to end, it is the reason for that; otherwise `error`.
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

/**
 * Whether the disk can be opened. Opening it asks the storage daemon; reading its attributes would ask only the
 * kernel's memory.
 */
async function answers(processId: number, exportPath: string): Promise<boolean> {
  return await execInside(processId, ['sh', '-c', ': <"$1"', 'open', exportPath]).then(
    () => true,
    () => false,
  );
}
