import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';

/**
 * The user of the tools that work on files of strangers, where the worker is root: a user without any right, and a new
 * one each time, so that no two can reach each other's processes and files. Its id comes from a range that nothing else
 * on the machine uses; it needs no entry in /etc/passwd.
 */
export interface UnprivilegedUser {
  /** User and group id. */
  readonly id: number;
  /** Further groups, such as that of /dev/kvm. */
  readonly groups: readonly number[];
}

/** The ids that tools may run with, both ends included. */
export interface IdRange {
  readonly first: number;
  readonly last: number;
}

/** Capabilities that root needs to change the user, by the numbers of capabilities(7). */
const neededCapabilities = {
  CAP_CHOWN: 0,
  CAP_DAC_OVERRIDE: 1,
  CAP_FOWNER: 3,
  CAP_KILL: 5,
  CAP_SETGID: 6,
  CAP_SETUID: 7,
  CAP_SETPCAP: 8,
} as const;

/** CAP_SYS_ADMIN of capabilities(7). */
const sysAdmin = 21;

/** Whether the kernel lets this process mount. */
export function mayMount(): boolean {
  return hasCapability(sysAdmin);
}

/** A new user for one use, or null where this process cannot change its user: tools then run as this process does. */
export function newUnprivilegedUser(range: IdRange): UnprivilegedUser | null {
  if (process.geteuid?.() !== 0 || hindrance(range) !== null) return null;
  return { id: randomInt(range.first, range.last + 1), groups: [] };
}

/** The reason why root cannot run its tools as another user here; null where it can. */
export function hindrance(
  { first, last }: IdRange,
  text = {
    status: read('/proc/self/status'),
    userIds: read('/proc/self/uid_map'),
    groupIds: read('/proc/self/gid_map'),
  },
): string | null {
  const capabilities = effectiveCapabilities(text.status);
  const missing = Object.entries(neededCapabilities).filter(
    ([, number]) => (capabilities & (1n << BigInt(number))) === 0n,
  );
  if (missing.length > 0) return `${missing.map(([name]) => name).join(', ')} missing`;
  if (isMapped(text.userIds, first, last) && isMapped(text.groupIds, first, last)) return null;
  return `the ids ${first} to ${last} are none of this user namespace; set IMAGEBUILDER_UNPRIVILEGED_IDS to some that are`;
}

/**
 * Arguments of setpriv(1) that make a program run as `user`; null keeps this process's own user. In both cases the
 * program has no capabilities, and gains no rights by the programs that it starts.
 */
export function privilegeArguments(user: UnprivilegedUser | null): string[] {
  const identity =
    user === null
      ? []
      : [
          ...['--reuid', String(user.id), '--regid', String(user.id)],
          ...(user.groups.length === 0 ? ['--clear-groups'] : ['--groups', user.groups.join(',')]),
        ];
  return [
    ...identity,
    '--no-new-privs',
    ...(mayDropCapabilities() ? ['--bounding-set', '-all', '--inh-caps', '-all'] : []),
  ];
}

function mayDropCapabilities(): boolean {
  if (process.geteuid?.() !== 0) return false;
  return hasCapability(neededCapabilities.CAP_SETPCAP);
}

function hasCapability(number: number): boolean {
  return (effectiveCapabilities(read('/proc/self/status')) & (1n << BigInt(number))) !== 0n;
}

function effectiveCapabilities(status: string): bigint {
  const digits = /^CapEff:\s*([0-9a-f]{1,16})$/m.exec(status)?.[1] ?? '0';
  return BigInt(`0x${digits}`);
}

/**
 * Whether one line of a map such as /proc/PID/uid_map holds all of the ids. A line has the first id inside, the first
 * one outside, and the count.
 */
function isMapped(map: string, first: number, last: number): boolean {
  return map.split('\n').some((line) => {
    const [inside = Number.NaN, , count = 0] = line.trim().split(/\s+/).map(Number);
    return inside <= first && last < inside + count;
  });
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
