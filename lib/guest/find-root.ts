import { ImageBuilderError } from '../errors.ts';
import { guessRoot, matchFstabSpec, noRoot, rootCandidates } from '../image/layout.ts';
import type { Partition } from '../image/partition.ts';
import { plain } from '../text.ts';
import { parseTable, subvolumeOf } from './fstab.ts';
import { isSafeOption, type System } from './look.ts';

/** Finds the root of an image by what its file systems hold. */

export interface Root {
  readonly partition: Partition;
  readonly system: System;
}

export interface Stage {
  /**
   * Mounts a file system beside the image, and looks at it. Throws `image.unsupported` or `image.corrupt` where it cannot
   * be mounted. Read-only, the file system stays as it is to the last byte, and is unmounted again.
   */
  mount(partition: Partition, how: { subvolume: string | null; readOnly: boolean }): Promise<readonly System[]>;
  unmount(partition: Partition): Promise<void>;
}

/**
 * Finds the root and leaves it mounted. A partition that its label, type or name makes the likely root is the root where
 * it holds a system; otherwise all are looked at, and `onNotice` gets the reason of the choice. Throws
 * `image.unsupported` where none holds a system, or more than one does and nothing tells which is booted.
 */
export async function findRoot(
  partitions: readonly Partition[],
  stage: Stage,
  onNotice: (message: string) => void,
): Promise<Root> {
  const candidates = rootCandidates(partitions).filter(({ fileSystem }) => fileSystem?.fault === undefined);
  const guess = guessRoot(partitions);
  const likely = guess === null || !candidates.includes(guess) ? null : guess;
  const found: Root[] = [];
  if (likely !== null) {
    for (const system of await stage.mount(likely, { subvolume: null, readOnly: false })) {
      found.push({ partition: likely, system });
    }
    const [first] = found;
    if (found.length === 1 && first !== undefined && isSystem(first)) return opened(first);
    await stage.unmount(likely);
  }
  const failures: unknown[] = [];
  for (const partition of candidates) {
    if (partition === likely) continue;
    try {
      for (const system of await stage.mount(partition, { subvolume: null, readOnly: true })) {
        found.push({ partition, system });
      }
    } catch (error) {
      failures.push(imageFault(error));
    }
  }
  found.push(...(await lookDeeper(found, candidates, stage)));
  const { root, why } = chooseRoot(found, partitions);
  if (root === null) {
    if (why !== null) throw new ImageBuilderError('image.unsupported', why);
    // A system may lack all signs but one.
    const only = found.filter(({ system }) => system.evidence.has('etc'));
    if (only[0] === undefined || only.length > 1) throw failures[0] ?? noRoot(partitions);
    return await mounted(only[0], stage);
  }
  if (why !== null) onNotice(`${describe(root)} is the root of the image: ${why}`);
  return await mounted(root, stage);
}

/** Subvolumes that a kernel's command line names, and that lie below others. */
async function lookDeeper(found: readonly Root[], candidates: readonly Partition[], stage: Stage): Promise<Root[]> {
  const deeper: Root[] = [];
  for (const subvolume of flaggedSubvolumes(found)) {
    const known = found.some(({ system }) => system.subvolume === subvolume);
    if (known || !isSafeOption(subvolume)) continue;
    for (const partition of candidates.filter(({ fileSystem }) => fileSystem?.type === 'btrfs')) {
      const looking = stage.mount(partition, { subvolume, readOnly: true });
      const [system] = await looking.catch((error: unknown) => imageFault(error) && []);
      if (system !== undefined) deeper.push({ partition, system: { ...system, subvolume } });
    }
  }
  return deeper;
}

/** The error, where it is the image's fault: then another file system may still hold the root. Throws others. */
function imageFault(error: unknown): ImageBuilderError {
  if (error instanceof ImageBuilderError && error.code.startsWith('image.')) return error;
  throw error;
}

/** At most eight, since each costs a mount. */
function flaggedSubvolumes(looked: readonly Root[]): readonly string[] {
  const flags = looked.flatMap(({ system }) => system.rootFlags.map((each) => subvolumeOf(each.split(','))));
  return [...new Set(flags)].filter((name) => name !== null).slice(0, 8);
}

async function mounted(root: Root, stage: Stage): Promise<Root> {
  const { subvolume } = root.system;
  await stage.mount(root.partition, { subvolume, readOnly: false });
  return opened(root);
}

function opened(root: Root): Root {
  if (root.system.bad !== null) throw new ImageBuilderError('image.unsupported', root.system.bad);
  return root;
}

function isSystem({ system: { evidence } }: Root): boolean {
  return evidence.has('etc') && evidence.size > 1;
}

/** Names of the subvolume that installers make for the root: Ubuntu's, Debian's, Fedora's and others'. */
const rootSubvolumes: readonly string[] = ['@', '@rootfs', 'root', '@root', 'rootfs', '@debian', '@ubuntu'];

interface Rule {
  readonly why: string;
  readonly holds: (root: Root, all: readonly Root[]) => boolean;
}

/**
 * Chooses among the file systems that were looked at: the first rule that holds for exactly one decides. Without a root,
 * `why` is the reason: more than one system; or null where there is none.
 */
export function chooseRoot(
  looked: readonly Root[],
  partitions: readonly Partition[],
): { readonly root: Root | null; readonly why: string | null } {
  let systems = looked.filter(isSystem);
  const [first] = systems;
  if (first === undefined) return { root: null, why: null };
  if (systems.length === 1) {
    const plainly = looked.length === 1 && first.system.subvolume === null;
    return { root: first, why: plainly ? null : `it alone holds ${signs(first)}` };
  }
  const flagged = flaggedSubvolumes(looked);
  const most = Math.max(...systems.map(({ system }) => system.evidence.size));
  const rules: readonly Rule[] = [
    {
      why: 'the command line of its kernel names this subvolume',
      holds: ({ partition, system }) =>
        partition.fileSystem?.type === 'btrfs' && system.subvolume !== null && flagged.includes(system.subvolume),
    },
    { why: 'its /etc/fstab names it as /', holds: (root) => namesItself(root, partitions) },
    {
      why: 'it is the default subvolume',
      holds: ({ partition, system }, all) =>
        system.subvolume === null && all.every((one) => one.partition === partition),
    },
    {
      why: 'installers give the root this subvolume',
      holds: ({ partition, system }, all) =>
        all.every((one) => one.partition === partition) &&
        system.subvolume === rootSubvolumes.find((name) => all.some((one) => one.system.subvolume === name)),
    },
    { why: `it holds the most signs of a system`, holds: ({ system }) => system.evidence.size === most },
  ];
  for (const { why, holds } of rules) {
    const fitting = systems.filter((root) => holds(root, systems));
    const [only] = fitting;
    if (fitting.length === 1 && only !== undefined) return { root: only, why: `${why}, and it holds ${signs(only)}` };
    if (fitting.length > 1) systems = fitting;
  }
  const names = systems.map((root) => `${describe(root)} (${signs(root)})`).join(' and ');
  return { root: null, why: `the image has more than one system, and nothing says which of them it boots: ${names}` };
}

function namesItself({ partition, system }: Root, partitions: readonly Partition[]): boolean {
  const line = parseTable(system.fstab).find(({ target }) => target === '/');
  if (line === undefined || matchFstabSpec(line.spec, partitions)?.number !== partition.number) return false;
  return partition.fileSystem?.type !== 'btrfs' || subvolumeOf(line.options) === system.subvolume;
}

function describe({ partition, system }: Root): string {
  const where = partition.number === 0 ? 'the whole disk' : `partition ${partition.number}`;
  return system.subvolume === null ? where : `the subvolume ${plain(system.subvolume)} of ${where}`;
}

const signNames = { etc: '/etc', fstab: '/etc/fstab', 'os-release': 'os-release', dpkg: 'the status of dpkg' } as const;

function signs({ system }: Root): string {
  const names = [...system.evidence].filter((sign) => sign !== 'etc').map((sign) => signNames[sign]);
  return names.join(', ');
}
