import type { Partition } from '../image/partition.ts';
import type { ClosedMount, MountPlan, PlannedMount } from './plan-mounts.ts';

/** The mount points of an opened image. */
export interface Mounts {
  /** Those that are open, `/` first. */
  readonly mounts: readonly PlannedMount[];
  /** Mount points of the image that are not open. */
  readonly notMounted: readonly ClosedMount[];
}

/**
 * Opens the planned mount points one after another by `open`, which returns the reason where the kernel cannot read the
 * partition's file system, else null. `onNotice` gets the news for users.
 */
export async function openMounts(
  plan: MountPlan,
  root: Pick<PlannedMount, 'partition' | 'subvolume'>,
  open: (partition: Partition) => Promise<string | null>,
  onNotice: (message: string) => void,
): Promise<Mounts> {
  const mounts: PlannedMount[] = [{ ...root, target: '/' }];
  const notMounted: ClosedMount[] = [];
  for (const mount of plan.mounts) {
    const { partition, target } = mount;
    const fault = partition.fileSystem?.fault;
    const reason = fault === undefined ? await open(partition) : `${partition.fileSystem?.type}: ${fault}`;
    if (reason === null) mounts.push(mount);
    else {
      notMounted.push({ target, reason });
      onNotice(`${target} (partition ${partition.number}) stays closed: ${reason}`);
    }
  }
  for (const closed of plan.closed) {
    const { target, reason, expected } = closed;
    notMounted.push(closed);
    if (reason !== null && expected !== true) onNotice(`${target} stays closed: ${reason}`);
  }
  return { mounts, notMounted };
}

/** The mount points after scripts/assemble.sh could not open those in `closed`. `onNotice` gets the news for users. */
export function withoutClosed(
  { mounts, notMounted }: Mounts,
  closed: readonly ClosedMount[],
  onNotice: (message: string) => void,
): { readonly mounted: readonly string[]; readonly notMounted: readonly ClosedMount[] } {
  const mounted: string[] = [];
  for (const { target } of mounts) {
    const found = closed.find((one) => one.target === target);
    if (found === undefined) mounted.push(target);
    else onNotice(`${target} stays closed: ${found.reason}`);
  }
  return { mounted, notMounted: [...notMounted, ...closed] };
}
