import { join, relative } from 'node:path';
import { unescapeOctal } from '../../image/octal.js';

/** The names of the cgroup controllers that hold a guest to its limits. */
export const controllers = ['memory', 'pids', 'cpu'] as const;
export type Controller = (typeof controllers)[number];

/** A cgroup hierarchy as this process sees it. */
export interface Hierarchy {
  readonly version: 1 | 2;
  /** For version 2, the controllers that it may have; its `cgroup.controllers` says which it has. */
  readonly controllers: readonly Controller[];
  /** The cgroup of this process. */
  readonly folder: string;
}

/**
 * Finds the cgroups of this process in the hierarchies that are mounted here, by the texts of /proc/self/mountinfo
 * (proc_pid_mountinfo(5)) and /proc/self/cgroup (cgroups(7)). Leaves out hierarchies in which its cgroup cannot be
 * seen, as from some containers.
 */
export function findHierarchies(mountinfo: string, selfCgroup: string): Hierarchy[] {
  const own = new Map<string, string>();
  for (const line of selfCgroup.split('\n')) {
    const match = /^[0-9]+:([^:]*):(\/.*)$/.exec(line);
    // An empty list of controllers stands for version 2.
    for (const name of match?.[1]?.split(',') ?? []) own.set(name, match?.[2] ?? '');
  }
  const found: Hierarchy[] = [];
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root = '', mountPoint = ''] = before.split(' ');
    const [type, , options = ''] = after.split(' ');
    if (type !== 'cgroup' && type !== 'cgroup2') continue;
    const names =
      type === 'cgroup2' ? controllers : controllers.filter((controller) => options.split(',').includes(controller));
    const [first] = names;
    const path = first === undefined ? undefined : own.get(type === 'cgroup2' ? '' : first);
    if (path === undefined) continue;
    const below = relative(unescapeOctal(root), path);
    if (below.startsWith('..')) continue;
    const folder = join(unescapeOctal(mountPoint), below);
    if (!found.some((other) => other.folder === folder)) {
      found.push({ version: type === 'cgroup2' ? 2 : 1, controllers: names, folder });
    }
  }
  return found;
}
