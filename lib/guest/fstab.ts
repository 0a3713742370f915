import { matchFstabSpec } from '../image/layout.ts';
import { unescapeOctal } from '../image/octal.ts';
import type { Partition } from '../image/partition.ts';

/** What an image's own fstab (fstab(5)) says of its partitions. */

export interface FstabEntry {
  readonly spec: string;
  /** Absolute, without a trailing slash. */
  readonly target: string;
  readonly options: readonly string[];
}

export interface MountPlan {
  /** Partitions beside the root, parents before children. */
  readonly mounts: readonly { readonly partition: Partition; readonly target: string }[];
  /** Mount points whose partition is not in the image, or not to be recognised from here. */
  readonly unknown: readonly FstabEntry[];
}

/** The entries of an fstab that mount something at boot from a block device. Lines that make no sense are left out. */
export function parseFstab(text: string): FstabEntry[] {
  const entries: FstabEntry[] = [];
  for (const line of text.split('\n')) {
    const [spec = '', target = '', type = '', options = 'defaults'] = line.trim().split(/\s+/);
    const path = unescapeOctal(target).replace(/(?<=.)\/+$/, '');
    const isDevice = /^(LABEL|UUID|PARTUUID|PARTLABEL)=|^\/dev\//.test(spec);
    const isPath = path.startsWith('/') && !path.split('/').includes('..') && !/\p{Cc}/u.test(path);
    if (!isDevice || !isPath || type === 'swap') continue;
    const names = options.split(',');
    if (!names.includes('noauto') && !names.includes('bind')) entries.push({ spec, target: path, options: names });
  }
  return entries;
}

/** What to mount beside the root partition, in order. */
export function planMounts(fstab: string, partitions: readonly Partition[], root: Partition): MountPlan {
  const mounts = new Map<string, Partition>();
  const unknown: FstabEntry[] = [];
  for (const entry of parseFstab(fstab)) {
    if (entry.target === '/') continue;
    const partition = matchFstabSpec(entry.spec, partitions);
    if (partition === null) unknown.push(entry);
    else if (partition.number !== root.number) mounts.set(entry.target, partition);
  }
  const depth = (path: string) => path.split('/').length;
  return {
    mounts: [...mounts]
      .map(([target, partition]) => ({ partition, target }))
      .sort((one, other) => depth(one.target) - depth(other.target)),
    unknown,
  };
}
