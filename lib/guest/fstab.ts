import { unescapeOctal } from '../image/octal.js';
import { trimEndOf } from '../text.ts';

/** Reads mounts as fstab(5) and systemd's mount units write them. */

export interface FstabEntry {
  /** The device, or what stands in its place. */
  readonly spec: string;
  /** Absolute, without a trailing slash. */
  readonly target: string;
  readonly type: string;
  readonly options: readonly string[];
}

/** Two paths of the greatest length that the kernel takes (PATH_MAX), and options. */
const maximumLineCharacters = 3 * 4096;

/** All mounts of an fstab, also those that its boot leaves alone. Malformed lines, and swap, are left out. */
export function parseTable(text: string): FstabEntry[] {
  const entries: FstabEntry[] = [];
  for (const line of text.split('\n')) {
    if (line.length > maximumLineCharacters || line.trimStart().startsWith('#')) continue;
    const [spec = '', target = '', type = 'auto', options = 'defaults'] = line.trim().split(/\s+/);
    const entry = toEntry(spec, unescapeOctal(target), type, options);
    if (entry !== null) entries.push(entry);
  }
  return entries;
}

/** The mount of a systemd unit (systemd.mount(5)); null where it is none that can be followed. */
export function parseMountUnit(text: string): FstabEntry | null {
  const values = new Map<string, string>();
  let section = '';
  for (const line of text.split('\n').map((each) => each.trim())) {
    if (line.length > maximumLineCharacters) return null;
    if (line.startsWith('[')) section = line;
    const equals = line.indexOf('=');
    if (section === '[Mount]' && equals > 0) values.set(line.slice(0, equals).trim(), line.slice(equals + 1).trim());
  }
  const value = (name: string) => values.get(name) ?? '';
  return toEntry(value('What'), value('Where'), value('Type') || 'auto', value('Options') || 'defaults');
}

function toEntry(spec: string, fullTarget: string, type: string, options: string): FstabEntry | null {
  const target = trimEndOf(fullTarget, '/') || fullTarget.slice(0, 1);
  const isPath = target.startsWith('/') && !target.split('/').includes('..') && !/\p{Cc}/u.test(target);
  return !isPath || spec === '' || type === 'swap' ? null : { spec, target, type, options: options.split(',') };
}

export function isDevice({ spec }: FstabEntry): boolean {
  return /^(LABEL|UUID|PARTUUID|PARTLABEL)=|^\/dev\//.test(spec);
}

/** False for an entry that only someone's command mounts. One with an automount opens when something looks into it. */
export function opensAtBoot({ options }: FstabEntry): boolean {
  return !options.includes('noauto') || options.includes('x-systemd.automount');
}

export function isBind({ type, options }: FstabEntry): boolean {
  return type === 'bind' || options.includes('bind') || options.includes('rbind');
}

/** The subvolume of btrfs that mount options name, without a leading slash; null for none, which is the default one. */
export function subvolumeOf(options: readonly string[]): string | null {
  const option = options.findLast((each) => each.startsWith('subvol='));
  const name = option === undefined ? '' : trimEndOf(unescapeOctal(option.slice('subvol='.length)), '/');
  return (name.startsWith('/') ? name.slice(1) : name) || null;
}
