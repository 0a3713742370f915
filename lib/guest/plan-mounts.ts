import { ImageBuilderError } from '../errors.ts';
import { discoverPartitions } from '../image/discoverable.ts';
import { matchesOfFstabSpec } from '../image/layout.ts';
import { unescapeOctal } from '../image/octal.js';
import type { Partition } from '../image/partition.ts';
import { plain } from '../text.ts';
import { type FstabEntry, isBind, isDevice, opensAtBoot, parseMountUnit, parseTable, subvolumeOf } from './fstab.ts';
import { isSafeOption, type System, subvolumeOption } from './look.ts';

/** Plans the mounts of an image as its own boot makes them. */

/** A mount point of the image that is not open. */
export interface ClosedMount {
  readonly target: string;
  /** For the user; null where the image's own boot leaves it closed too. */
  readonly reason: string | null;
  /** True where no build can have it open, such as a tmpfs or a snap: no reason for a warning. */
  readonly expected?: true;
}

export interface PlannedMount {
  readonly partition: Partition;
  readonly target: string;
  /** Mount options that choose a subvolume of btrfs; empty for the default one, and for other file systems. */
  readonly subvolume: string;
}

export interface MountPlan {
  /** Partitions beside the root, parents before children. */
  readonly mounts: readonly PlannedMount[];
  /** Folders of the image that appear in other places of it. */
  readonly binds: readonly { readonly source: string; readonly target: string }[];
  /** Mount points that stay closed. */
  readonly closed: readonly ClosedMount[];
}

/** The parts of a system that say what its boot mounts. */
export type MountSources = Pick<System, 'fstab'> &
  Partial<Pick<System, 'units' | 'folders' | 'machineId' | 'mountsByType'>>;

/** Folders inside that belong to the guest while the image is open (assemble.sh). */
const ownFolders = /^\/(dev|proc|run|sys|tmp)(\/|$)/;
/** Limit of mounts, and loop devices for them, that an image may ask of the worker. */
const maximumEntries = 64;
/** Folders whose content is meant to be lost: what a tmpfs there hides is no loss. */
const volatileFolders = /^\/var\/(cache|lock|log|run|spool|tmp)(\/|$)/;
const overlays = ['overlay', 'overlayfs', 'aufs', 'unionfs'];
/** File systems of the kernel, and in memory. */
const memory = ['tmpfs', 'ramfs', 'proc', 'sysfs', 'devpts', 'devtmpfs', 'cgroup', 'cgroup2', 'securityfs', 'debugfs'];
const kernels = ['tracefs', 'configfs', 'fusectl', 'pstore', 'efivarfs', 'bpf', 'mqueue', 'hugetlbfs', 'binfmt_misc'];

/**
 * Plans the mounts beside the root, in order: each partition, or subvolume, once, since two loop devices on the same file
 * system would destroy it. As with systemd, units come before the fstab, the first of several entries for one mount
 * point counts, and partitions are found by their types where no entry names them. Throws `image.unsupported` for more
 * mount points than any image has.
 */
export function planMounts(sources: MountSources, partitions: readonly Partition[], root: Partition): MountPlan {
  const draft: Draft = { partitions, root, mounts: [], binds: [], closed: [] };
  const seen = new Set<string>(['/']);
  for (const entry of entriesOf(sources)) {
    if (seen.has(entry.target)) continue;
    seen.add(entry.target);
    if (!opensAtBoot(entry)) continue;
    if (isBind(entry)) addBind(draft, entry);
    else if (isDevice(entry)) addDevice(draft, entry);
    else draft.closed.push(...closedOther(entry));
  }
  if (sources.mountsByType ?? true) {
    const taken = new Set([root, ...draft.mounts.map(({ partition }) => partition)].map(({ number }) => number));
    for (const { partition, target } of discoverPartitions(partitions, { ...sources, taken })) {
      if (!seen.has(target)) addMount(draft, target, `partition ${partition.number}`, partition, '');
    }
  }
  const depth = (path: string) => path.split('/').length;
  const { mounts, binds, closed } = draft;
  return { mounts: mounts.toSorted((one, other) => depth(one.target) - depth(other.target)), binds, closed };
}

interface Draft {
  readonly partitions: readonly Partition[];
  readonly root: Partition;
  readonly mounts: PlannedMount[];
  readonly binds: { readonly source: string; readonly target: string }[];
  readonly closed: ClosedMount[];
}

function addBind({ binds, closed }: Draft, { spec, target }: FstabEntry): void {
  if (ownFolders.test(target)) return;
  const source = unescapeOctal(spec);
  if (isPlainPath(source) && !ownFolders.test(source)) binds.push({ source, target });
  else closed.push({ target, reason: `${plain(source)} appears there, which is none of the image’s own folders` });
}

function addDevice(draft: Draft, { spec, target, options }: FstabEntry): void {
  const [partition, ...more] = matchesOfFstabSpec(spec, draft.partitions);
  if (more.length > 0) {
    draft.closed.push({ target, reason: `more than one partition of the image is ${plain(spec)}` });
  } else if (partition === undefined) {
    const reason = options.includes('nofail') ? null : `the image has no partition ${plain(spec)}`;
    draft.closed.push({ target, reason });
  } else if (ownFolders.test(target)) {
    draft.closed.push({ target, reason: null });
  } else {
    const subvolume = partition.fileSystem?.type === 'btrfs' ? chosenSubvolume(options) : '';
    if (subvolume === '' || isSafeOption(subvolume)) addMount(draft, target, spec, partition, subvolume);
    else draft.closed.push({ target, reason: 'the name of its subvolume has characters that are not taken here' });
  }
}

function addMount(
  { root, mounts, closed }: Draft,
  target: string,
  spec: string,
  partition: Partition,
  subvolume: string,
): void {
  const same = (one: PlannedMount) => one.partition.number === partition.number && one.subvolume === subvolume;
  const elsewhere = mounts.find(same)?.target;
  if (elsewhere !== undefined) closed.push({ target, reason: `${plain(spec)} is open as ${elsewhere} already` });
  else if (partition.number !== root.number || subvolume !== '') mounts.push({ partition, target, subvolume });
}

function entriesOf({ fstab, units }: MountSources): FstabEntry[] {
  const ofUnits = [...(units?.values() ?? [])].map(parseMountUnit).filter((entry) => entry !== null);
  const entries = [...ofUnits, ...parseTable(fstab)];
  const opened = entries.filter((entry) => isDevice(entry) || isBind(entry));
  if (opened.length <= maximumEntries) return entries;
  throw new ImageBuilderError(
    'image.unsupported',
    `/etc/fstab in the image has ${opened.length} mount points; at most ${maximumEntries} are opened`,
  );
}

/** `subvol=` wins over `subvolid=` where both are given: they say the same in every fstab that boots. */
function chosenSubvolume(options: readonly string[]): string {
  const name = subvolumeOf(options);
  if (name !== null) return subvolumeOption(name);
  const id = options.findLast((option) => /^subvolid=[0-9]{1,19}$/.test(option));
  return id ?? (options.includes('subvol=/') ? 'subvolid=5' : '');
}

/** An entry that is neither a device nor a folder of the image: none where it hides nothing. */
function closedOther({ spec, target, type, options }: FstabEntry): ClosedMount[] {
  if (ownFolders.test(target)) return [];
  if (memory.includes(type) || kernels.includes(type)) {
    return volatileFolders.test(target) ? [] : [{ target, reason: `its boot mounts a ${type} there`, expected: true }];
  }
  if (overlays.includes(type)) {
    const lower = options.find((option) => option.startsWith('lowerdir='))?.slice('lowerdir='.length) ?? '';
    // Changes below such an overlay show through it.
    if (lower.split(':').includes(target)) return [];
    return [{ target, reason: 'its boot mounts an overlay there' }];
  }
  if (spec.startsWith('/') && !spec.startsWith('//')) {
    // Snaps are such files, and images have many of them.
    return [{ target, reason: `its boot mounts the file ${plain(spec)} there`, expected: true }];
  }
  return [{ target, reason: `its boot mounts a file system from elsewhere there (${plain(type)})` }];
}

function isPlainPath(path: string): boolean {
  return path.startsWith('/') && !path.split('/').includes('..') && !/\p{Cc}/u.test(path);
}
