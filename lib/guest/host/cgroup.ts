import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isNodeError, messageOf } from '../../errors.ts';
import { exec } from '../../exec.ts';
import { lineAfter } from '../../text.ts';
import { type Controller, controllers, findHierarchies, type Hierarchy } from './hierarchies.ts';
import { removeGroup } from './remove-group.js';

/**
 * The control group of a host guest: it limits its scripts and all their processes together. The storage daemon and the
 * supervisor stay outside: the disk must not go first when memory is short.
 */
export interface Cgroup extends AsyncDisposable {
  /** `cgroup.procs` files. A process joins by writing `0`; its children follow. */
  readonly doors: readonly string[];
  /** Folders to remove when all processes in them are gone. */
  readonly folders: readonly string[];
  /** Limits that do not hold, with the reason. */
  readonly missing: Readonly<Partial<Record<Controller, string>>>;
  /** How often processes were killed for want of memory, and how often no process could be started, so far. */
  hits(): Promise<CgroupHits>;
}

export interface CgroupHits {
  readonly memory: number;
  readonly processes: number;
}

export interface GuestLimits {
  readonly guestMemoryBytes: number;
  /** Processes and threads. */
  readonly guestProcesses: number;
  /** Null for all. */
  readonly guestCpus: number | null;
}

const periodMicroseconds = 100_000;
/**
 * Cgroup for the processes of this container or service, since only groups without processes pass limits on (version
 * 2).
 */
const ownLeaf = 'imagebuilder.worker';
const longestName = 200;

/** Makes the group of the guest whose folder is `directory`, below the group of this process. Disposing removes it. */
export async function openCgroup(directory: string, limits: GuestLimits): Promise<Cgroup> {
  const folders = new Map<Controller, Place>();
  const missing: Partial<Record<Controller, string>> = {};
  const wanted = controllers.filter((controller) => controller !== 'cpu' || limits.guestCpus !== null);
  for (const controller of wanted) missing[controller] = 'no hierarchy of it is mounted here';
  for (const hierarchy of await readHierarchies()) {
    for (const controller of hierarchy.controllers) {
      if (folders.has(controller) || !wanted.includes(controller)) continue;
      try {
        const folder = await makeGroup(hierarchy, controller, directory);
        for (const [file, value, needed] of settingsOf(hierarchy.version, controller, limits)) {
          const written = writeFile(join(folder, file), value);
          await (needed ? written : written.catch(() => {}));
        }
        folders.set(controller, { folder, version: hierarchy.version });
        delete missing[controller];
      } catch (error) {
        missing[controller] = messageOf(error);
      }
    }
  }
  const memory = folders.get('memory');
  const pids = folders.get('pids');
  const distinct = [...new Set([...folders.values()].map(({ folder }) => folder))];
  return {
    doors: distinct.map((folder) => join(folder, 'cgroup.procs')),
    folders: distinct,
    missing,
    hits: async () => ({
      memory: memory === undefined ? 0 : await readCount(memory, memoryEvents[memory.version], 'oom_kill'),
      processes: pids === undefined ? 0 : await readCount(pids, 'pids.events', 'max'),
    }),
    [Symbol.asyncDispose]: () => removeCgroup(directory),
  };
}

interface Place {
  readonly folder: string;
  readonly version: Hierarchy['version'];
}

/**
 * Removes the group of a guest whose processes are gone, as far as it exists; the kernel may need a moment to agree.
 * Never throws: a group without processes is only a name, which goes with the container.
 */
export async function removeCgroup(directory: string): Promise<void> {
  for (const hierarchy of await readHierarchies()) {
    await removeGroup(join(parentOf(hierarchy), groupName(directory)));
  }
}

async function readHierarchies(): Promise<Hierarchy[]> {
  const text = async (path: string) => await readFile(path, 'utf8').catch(() => '');
  return findHierarchies(await text('/proc/self/mountinfo'), await text('/proc/self/cgroup'));
}

/** A name with the guest's folder in it. Of a path that is too long, the end, which is the part that differs. */
function groupName(directory: string): string {
  return `imagebuilder-${directory.replaceAll('/', '-').slice(-longestName)}`;
}

/** The group that contains the groups of guests. */
function parentOf({ folder }: Hierarchy): string {
  return basename(folder) === ownLeaf ? dirname(folder) : folder;
}

async function makeGroup(hierarchy: Hierarchy, controller: Controller, directory: string): Promise<string> {
  const parent = parentOf(hierarchy);
  if (hierarchy.version === 2) {
    await assertDelegated(parent);
    await enable(parent, controller);
  }
  const folder = join(parent, groupName(directory));
  await mkdir(folder, { recursive: true });
  return folder;
}

/**
 * Throws for a systemd unit that does not delegate its cgroup. We must not rearrange that, and systemd stops the whole
 * unit, the worker included, as soon as a process in it has been killed for want of memory (OOMPolicy=,
 * systemd.service(5)).
 */
async function assertDelegated(parent: string): Promise<void> {
  const unit = basename(parent);
  if (!/\.(service|scope)$/.test(unit)) return;
  const shown = await exec('systemctl', ['show', '--property=Delegate', '--value', '--', unit]).catch(() => null);
  // Without systemd it is a name that a container's manager has given.
  if (shown?.stdout.trim() === 'no')
    throw new Error(`the systemd unit ${unit} keeps it to itself: Delegate=yes is missing`);
}

/** Enables a controller in the groups below `parent` (cgroup v2: `cgroup.subtree_control`). */
async function enable(parent: string, controller: Controller): Promise<void> {
  const words = async (file: string) => (await readFile(join(parent, file), 'utf8')).split(/\s+/);
  if (!(await words('cgroup.controllers')).includes(controller)) {
    throw new Error(`the controller is not handed down to ${parent}`);
  }
  if ((await words('cgroup.subtree_control')).includes(controller)) return;
  const handOn = async () => await writeFile(join(parent, 'cgroup.subtree_control'), `+${controller}`);
  try {
    await handOn();
  } catch (error) {
    if (!isNodeError(error) || error.code !== 'EBUSY') throw error;
    await mkdir(join(parent, ownLeaf), { recursive: true });
    for (const id of await words('cgroup.procs')) {
      if (id !== '') await writeFile(join(parent, ownLeaf, 'cgroup.procs'), id).catch(() => {});
    }
    await handOn();
  }
}

/** File, value, and whether the limit fails without it; by the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/. */
function settingsOf(
  version: Hierarchy['version'],
  controller: Controller,
  { guestMemoryBytes, guestProcesses, guestCpus }: GuestLimits,
): [file: string, value: string, needed: boolean][] {
  const bytes = String(guestMemoryBytes);
  const quota = guestCpus === null ? null : String(Math.round(guestCpus * periodMicroseconds));
  switch (controller) {
    case 'memory':
      // Swapping would only delay the end.
      return version === 2
        ? [
            ['memory.max', bytes, true],
            ['memory.swap.max', '0', false],
          ]
        : [
            ['memory.limit_in_bytes', bytes, true],
            ['memory.memsw.limit_in_bytes', bytes, false],
          ];
    case 'pids':
      return [['pids.max', String(guestProcesses), true]];
    case 'cpu':
      if (quota === null) return [];
      return version === 2
        ? [['cpu.max', `${quota} ${periodMicroseconds}`, true]]
        : [
            ['cpu.cfs_period_us', String(periodMicroseconds), true],
            ['cpu.cfs_quota_us', quota, true],
          ];
  }
}

const memoryEvents = { 1: 'memory.oom_control', 2: 'memory.events' } as const;

async function readCount({ folder }: Place, file: string, name: string): Promise<number> {
  const text = await readFile(join(folder, file), 'utf8').catch(() => '');
  return Number(lineAfter(text, `${name} `) ?? 0);
}
