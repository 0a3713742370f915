import * as assert from 'node:assert/strict';
import { mkdir, readdir, readFile, readlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { exec } from '#lib/exec.ts';
import { holderName } from '#lib/lock-holder.ts';

/**
 * The check at the end of every system test: nothing of the test's folder may be left, no mount in any namespace, no
 * loop device, no FUSE connection, no process, no cgroup, no file in the folders that builds work in.
 *
 * Only leftovers of the test's own folder count, so that tests may run side by side:
 *
 *     const before = await observe(directory);
 *     …
 *     await assertNothingLeft(before, { emptyFolders: [join(directory, 'work')] });
 */

export interface Observation {
  /** The test's own folder. A process that names it on its command line, in its environment or as its place is the test's. */
  readonly directory: string;
  /** The process whose descendants are all the test's own; null for none. */
  readonly parentId: number | null;
  readonly processIds: ReadonlySet<number>;
  readonly fuseConnections: ReadonlySet<string>;
}

/** Records the present state before a test starts; `parentId` is this process where it is absent. */
export async function observe(
  directory: string,
  { parentId = process.pid }: { readonly parentId?: number | null } = {},
): Promise<Observation> {
  return {
    directory,
    parentId,
    processIds: new Set((await processes()).map((process) => process.id)),
    fuseConnections: new Set(await fuseConnections()),
  };
}

/**
 * Fails naming everything left since `before`. Devices that the kernel takes apart in the background (loop devices) and
 * processes that are just ending get `waitMs` for it.
 */
export async function assertNothingLeft(
  before: Observation,
  options: { readonly emptyFolders?: readonly string[]; readonly waitMs?: number } = {},
): Promise<void> {
  const { emptyFolders = [], waitMs = 10_000 } = options;
  const until = Date.now() + waitMs;
  for (;;) {
    const left = await leftovers(before, emptyFolders);
    if (left.length === 0) return;
    if (Date.now() > until) assert.fail(`left behind:\n${left.join('\n')}`);
    await sleep(100);
  }
}

async function leftovers(before: Observation, emptyFolders: readonly string[]): Promise<string[]> {
  const { directory } = before;
  const running = await processes();
  const mounts = new Set<string>();
  const mountedFuse = new Set<string>();
  const left: string[] = [];
  for (const process of running) {
    for (const line of process.mounts) {
      const [, , device = '', , target = ''] = line.split(' ');
      if (isUnder(target, directory)) mounts.add(`mount ${target}, seen by process ${process.id} ${process.command}`);
      if (device.startsWith('0:')) mountedFuse.add(device.slice(2));
    }
    if (before.processIds.has(process.id) || (await isIdleHolder(process))) continue;
    if (descends(process.id, before.parentId, running) || process.mentions.some((text) => text.includes(directory))) {
      left.push(`process ${process.id} (${process.state}) ${process.command}`);
    }
  }
  left.push(...mounts);
  for (const name of await readdir('/sys/block')) {
    const file = (await text(`/sys/block/${name}/loop/backing_file`)).trim();
    if (isUnder(file.replace(/ \(deleted\)$/, ''), directory)) left.push(`loop device ${name} on ${file}`);
  }
  for (const group of await guestGroups(directory)) left.push(`cgroup ${group}`);
  for (const connection of await fuseConnections()) {
    if (!before.fuseConnections.has(connection) && !mountedFuse.has(connection)) {
      left.push(`FUSE connection ${connection}, mounted nowhere`);
    }
  }
  for (const folder of emptyFolders) {
    await mkdir(folder, { recursive: true });
    for (const name of await readdir(folder)) left.push(`file ${folder}/${name}`);
  }
  return left;
}

/** Whether it waits for the next lock of the process that has started it, and holds none. */
async function isIdleHolder({ id, command }: RunningProcess): Promise<boolean> {
  return command.endsWith(` ${holderName}`) && (await link(`/proc/${id}/fd/5`)) === '';
}

/** The cgroups of host guests below a folder, in all hierarchies. */
export async function guestGroups(directory: string): Promise<string[]> {
  const pattern = `imagebuilder-${directory.replaceAll('/', '-')}*`;
  // find complains about other groups that come and go meanwhile.
  const { stdout } = await exec('find', ['/sys/fs/cgroup', '-type', 'd', '-name', pattern], { okExitCodes: [0, 1] });
  return stdout.split('\n').filter((line) => line !== '');
}

interface RunningProcess {
  readonly id: number;
  readonly parentId: number;
  readonly state: string;
  readonly command: string;
  /** All texts about the process that can name a folder. */
  readonly mentions: readonly string[];
  /** Lines of its mountinfo; empty when another process of the same mount namespace has been listed already. */
  readonly mounts: readonly string[];
}

async function processes(): Promise<RunningProcess[]> {
  const found: RunningProcess[] = [];
  const namespaces = new Set<string>();
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const base = `/proc/${name}`;
    const stat = await text(`${base}/stat`);
    if (stat === '') continue;
    // The name in parentheses may hold spaces and parentheses itself.
    const [state = '?', parentId = '0'] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const command = (await text(`${base}/cmdline`)).replaceAll('\0', ' ').trim();
    const namespace = await link(`${base}/ns/mnt`);
    const mounts = namespaces.has(namespace) ? '' : await text(`${base}/mountinfo`);
    namespaces.add(namespace);
    found.push({
      id: Number(name),
      parentId: Number(parentId),
      state,
      command: command === '' ? stat.slice(stat.indexOf('('), stat.lastIndexOf(')') + 1) : command,
      mentions: [command, await text(`${base}/environ`), await link(`${base}/cwd`), await link(`${base}/root`)],
      mounts: mounts.split('\n').filter((line) => line !== ''),
    });
  }
  return found;
}

function descends(id: number, ancestor: number | null, running: readonly RunningProcess[]): boolean {
  const parents = new Map(running.map((process) => [process.id, process.parentId]));
  for (let parent = parents.get(id); parent !== undefined && parent > 1; parent = parents.get(parent)) {
    if (parent === ancestor) return true;
  }
  return false;
}

/** Numbers of all FUSE connections; only root can list them, and other users have none of ours. */
async function fuseConnections(): Promise<string[]> {
  if (process.getuid?.() !== 0) return [];
  const script =
    'mount -t fusectl none /sys/fs/fuse/connections 2>/dev/null; cd /sys/fs/fuse/connections && for c in *; do [ -d "$c" ] && echo "$c"; done; :';
  const { stdout } = await exec('unshare', ['--mount', 'sh', '-c', script]);
  return stdout.split('\n').filter((line) => line !== '');
}

function isUnder(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

async function text(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch(() => '');
}

async function link(path: string): Promise<string> {
  return await readlink(path).catch(() => '');
}
