import type { Partition } from '../image/partition.ts';
import type { ClosedMount, MountPlan } from './fstab.ts';

/** The mount points of an opened image. */
export interface Mounts {
  /** Those that are open, `/` first. */
  readonly mounts: readonly { readonly partition: Partition; readonly target: string }[];
  /** Mount points of the fstab that are not open. */
  readonly notMounted: readonly ClosedMount[];
}

/**
 * Opens the planned mount points one after another by `open`, which returns the reason where the kernel cannot read the
 * partition's file system, else null. `onNotice` gets the news for users.
 */
export async function openMounts(
  plan: MountPlan,
  root: Partition,
  open: (partition: Partition) => Promise<string | null>,
  onNotice: (message: string) => void,
): Promise<Mounts> {
  const mounts = [{ partition: root, target: '/' }];
  const notMounted: ClosedMount[] = [];
  for (const { partition, target } of plan.mounts) {
    const reason = await open(partition);
    if (reason === null) mounts.push({ partition, target });
    else {
      notMounted.push({ target, reason });
      onNotice(`${target} (partition ${partition.number}) stays closed: ${reason}`);
    }
  }
  for (const { target, reason } of plan.closed) {
    notMounted.push({ target, reason });
    if (reason !== null) onNotice(`${target} stays closed: ${reason}`);
  }
  return { mounts, notMounted };
}
