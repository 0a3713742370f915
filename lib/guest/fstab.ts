import { ImageBuilderError } from '../errors.ts';
import { matchFstabSpec } from '../image/layout.ts';
import { unescapeOctal } from '../image/octal.ts';
import type { Partition } from '../image/partition.ts';
import { trimEndOf } from '../text.ts';

/** Reads an image's own fstab (fstab(5)), for its mount points and their partitions. */

export interface FstabEntry {
  readonly spec: string;
  /** Absolute, without a trailing slash. */
  readonly target: string;
  readonly options: readonly string[];
}

/** A mount point of the image's fstab that is not open. */
export interface ClosedMount {
  readonly target: string;
  /** For the user; null where the image's own boot leaves it closed too. */
  readonly reason: string | null;
}

export interface MountPlan {
  /** Partitions beside the root, parents before children. */
  readonly mounts: readonly { readonly partition: Partition; readonly target: string }[];
  /** Mount points that stay closed. */
  readonly closed: readonly ClosedMount[];
}

/** Folders inside that belong to the guest while the image is open (assemble.sh). */
const ownFolders = /^\/(dev|proc|run|sys|tmp)(\/|$)/;
/** Limit of mounts, and loop devices for them, that an image may ask of the worker. */
const maximumEntries = 64;

/** Two paths of the greatest length that the kernel takes (PATH_MAX), and options. */
const maximumLineCharacters = 3 * 4096;

/** The entries of an fstab that mount a block device at boot. Malformed lines are left out. */
export function parseFstab(text: string): FstabEntry[] {
  const entries: FstabEntry[] = [];
  for (const line of text.split('\n')) {
    if (line.length > maximumLineCharacters) continue;
    const [spec = '', target = '', type = '', options = 'defaults'] = line.trim().split(/\s+/);
    const full = unescapeOctal(target);
    const path = trimEndOf(full, '/') || full.slice(0, 1);
    const isDevice = /^(LABEL|UUID|PARTUUID|PARTLABEL)=|^\/dev\//.test(spec);
    const isPath = path.startsWith('/') && !path.split('/').includes('..') && !/\p{Cc}/u.test(path);
    if (!isDevice || !isPath || type === 'swap') continue;
    const names = options.split(',');
    if (!names.includes('noauto') && !names.includes('bind')) entries.push({ spec, target: path, options: names });
  }
  return entries;
}

/**
 * Plans the mounts beside the root partition, in order: each partition once, since two loop devices on the same file
 * system would destroy it. Throws `image.unsupported` for more mount points than any image has.
 */
export function planMounts(fstab: string, partitions: readonly Partition[], root: Partition): MountPlan {
  const mounts = new Map<string, Partition>();
  const closed: ClosedMount[] = [];
  const entries = parseFstab(fstab);
  if (entries.length > maximumEntries) {
    throw new ImageBuilderError(
      'image.unsupported',
      `/etc/fstab in the image has ${entries.length} mount points; at most ${maximumEntries} are opened`,
    );
  }
  for (const { spec, target, options } of entries) {
    if (target === '/') continue;
    const partition = matchFstabSpec(spec, partitions);
    const elsewhere = [...mounts].find(([, mounted]) => mounted.number === partition?.number)?.[0];
    if (partition === null) {
      closed.push({ target, reason: options.includes('nofail') ? null : `the image has no partition ${spec}` });
    } else if (ownFolders.test(target)) {
      closed.push({ target, reason: null });
    } else if (elsewhere !== undefined && elsewhere !== target) {
      closed.push({ target, reason: `${spec} is open as ${elsewhere} already` });
    } else if (partition.number !== root.number) {
      mounts.set(target, partition);
    }
  }
  const depth = (path: string) => path.split('/').length;
  return {
    mounts: [...mounts]
      .map(([target, partition]) => ({ partition, target }))
      .sort((one, other) => depth(one.target) - depth(other.target)),
    closed,
  };
}
