import type { Stats } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isNodeError, messageOf } from '../errors.ts';
import type { Trust } from './trust.ts';

/** A way in which another user of this machine could take or change a folder of ours. */
export interface FolderFault {
  /** The problem, as a clause: `/home/bob belongs to user 1001 (bob)`. */
  readonly problem: string;
  /** The operator's other remedy, beside naming another folder; null where there is none. */
  readonly remedy: string | null;
}

export interface FolderInspection {
  readonly faults: readonly FolderFault[];
  /** Permission bits of the folder; null where it is not there yet. */
  readonly mode: number | null;
  readonly ownerId: number | null;
  /** Whether others than trusted users may write to the folder itself. */
  readonly othersMayWrite: boolean;
}

const missing = { mode: null, ownerId: null, othersMayWrite: false } as const;
/** As many as the kernel follows in one path: MAXSYMLINKS, linux/namei.h. */
const mostLinks = 40;
const groupWrites = 0o020;
const othersWrite = 0o002;
const sticky = 0o1000;

/**
 * Looks at the absolute `path` and at every folder and link on the way to it, from the root on, so that no part that
 * was found safe can be exchanged afterwards. `mode` are the permission bits that the folder should have: no other user
 * may write to it, and its owner is this user, or root with no more rights for others than `mode` gives. A `shared`
 * one, such as /tmp, only has to keep others from replacing what this user puts there.
 */
export async function inspectFolder(path: string, mode: number | 'shared', trust: Trust): Promise<FolderInspection> {
  const faults: FolderFault[] = [];
  const names = path.split('/').filter(isName);
  let links = 0;
  let current = '/';
  let stats: Stats = await lstat('/');
  faults.push(...faultsOnTheWay(current, stats, trust));
  while (names.length > 0) {
    const name = names.shift() ?? '';
    const next = join(current, name);
    try {
      stats = await lstat(next);
    } catch (error) {
      if (isNodeError(error) && error.code === 'ENOENT') return { faults, ...missing };
      const problem = `${next} cannot be looked at: ${messageOf(error)}`;
      return { faults: [...faults, { problem, remedy: null }], ...missing };
    }
    if (stats.isSymbolicLink()) {
      if (!trust.isTrusted(stats.uid)) {
        const problem = `${next} is a link of ${trust.describe(stats.uid)}, who can point it elsewhere`;
        faults.push({ problem, remedy: `remove the link ${next}` });
      }
      links += 1;
      if (links > mostLinks) {
        const fault = { problem: `${path} leads through too many links`, remedy: null };
        return { faults: [...faults, fault], ...missing };
      }
      const target = await readlink(next);
      names.unshift(...target.split('/').filter(isName));
      if (target.startsWith('/')) current = '/';
      continue;
    }
    if (!stats.isDirectory()) {
      const fault = { problem: `${next} is no folder`, remedy: `remove ${next}` };
      return { faults: [...faults, fault], ...missing };
    }
    current = next;
    const isOwn = names.length === 0 && mode !== 'shared';
    faults.push(...(isOwn ? await faultsOfOwn(current, stats, mode, trust) : faultsOnTheWay(current, stats, trust)));
  }
  const othersMayWrite = writersOf(stats.mode, stats.gid, trust) !== null;
  return { faults, mode: stats.mode & 0o7777, ownerId: stats.uid, othersMayWrite };
}

const isName = (part: string) => part !== '' && part !== '.';

function faultsOnTheWay(path: string, { uid, gid, mode }: Stats, trust: Trust): FolderFault[] {
  if (!trust.isTrusted(uid)) {
    return [{ problem: `${path} belongs to ${trust.describe(uid)}, who can replace what lies in it`, remedy: null }];
  }
  if ((mode & sticky) !== 0) return [];
  const writers = writersOf(mode, gid, trust);
  if (writers === null) return [];
  const problem = `${writers.who} may write to ${path} (mode ${octal(mode)}) and replace what lies in it`;
  return [{ problem, remedy: `chmod ${writers.remedy} ${path}` }];
}

async function faultsOfOwn(
  path: string,
  { uid, gid, mode }: Stats,
  wanted: number,
  trust: Trust,
): Promise<FolderFault[]> {
  if (uid !== trust.userId && uid !== 0) {
    return [
      {
        problem: `${path} belongs to ${trust.describe(uid)} and not to ${trust.describe(trust.userId)}`,
        remedy: `remove ${path}, or chown -R ${trust.userId} ${path} if you trust what lies in it`,
      },
    ];
  }
  const writers = writersOf(mode, gid, trust);
  // A file system that was just mounted for it is often writable by everybody. Closing it is enough where it is empty.
  if (writers !== null && !(uid === trust.userId && (await readdir(path)).length === 0)) {
    const problem = `${writers.who} may write to ${path} (mode ${octal(mode)}) and may have put something there`;
    return [{ problem, remedy: `remove ${path}, or chmod ${writers.remedy} ${path} if you trust what lies in it` }];
  }
  if (uid === trust.userId || (mode & ~wanted & 0o007) === 0) return [];
  // A user who can read a folder can also lock it, and so stop builds.
  const problem = `every user may read ${path} (mode ${octal(mode)}), and only root can change that`;
  return [{ problem, remedy: `chown ${trust.userId} ${path}` }];
}

function writersOf(mode: number, groupId: number, trust: Trust): { who: string; remedy: string } | null {
  if ((mode & othersWrite) !== 0) return { who: 'every user', remedy: 'go-w' };
  if ((mode & groupWrites) !== 0 && !trust.isTrustedGroup(groupId)) return { who: `group ${groupId}`, remedy: 'g-w' };
  return null;
}

/** Permission bits as people write them: `0755`. */
export function octal(mode: number): string {
  return `0${(mode & 0o7777).toString(8).padStart(3, '0')}`;
}
