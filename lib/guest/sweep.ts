import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../exec.ts';
import type { Log } from '../log.ts';
import { waitFor } from '../wait-for.js';
import { removeCgroup } from './host/cgroup.ts';
import { abortScript, fuseConnection } from './host/fuse-connection.js';
import { guestDirectory, guestName, guestVariable } from './identity.ts';

/** Time that a supervisor whose worker has died may need to take its guest down by itself. */
const supervisorLimitMs = 30_000;
const stepLimitMs = 5_000;

/**
 * Ends the processes and mounts that a dead worker's guest has left on `workDirectory`. First it waits for the
 * supervisor's own clean-up; where the supervisor is dead too, it takes down namespaces, loop devices and storage
 * daemon in this order. Returns when nothing is left. Never throws: it logs leftovers that cannot be ended.
 */
export async function sweepGuest(workDirectory: string, options: { readonly log: Log }): Promise<void> {
  const directory = guestDirectory(workDirectory);
  if ((await processesOf(directory)).length > 0) {
    options.log.info('ending what a dead worker left running', { work_directory: workDirectory });
    const left = await endGuest(directory);
    if (left.length > 0) options.log.error('processes of a dead worker cannot be ended', { processes: left });
  }
  await removeCgroup(directory);
}

/** Ends the guest of this folder, as `sweepGuest` does; returns the processes that it could not end. */
export async function endGuest(directory: string): Promise<GuestProcess[]> {
  const exportPath = join(directory, 'disk.raw');
  const processes = async (role?: string) => {
    const found = await processesOf(directory);
    return role === undefined ? found : found.filter(({ command }) => command.includes(role));
  };
  const supervised = async () => (await processes('supervisor.js')).length > 0;
  await waitFor(async () => !(await supervised()), supervisorLimitMs);
  await waitFor(async () => (await processes()).length === 0, 1_000);

  for (const { id, command } of await processes()) {
    if (!command.includes('qemu-storage-daemon')) kill(id, 'SIGKILL');
  }
  await waitFor(async () => !(await isLooped(exportPath)), stepLimitMs);
  for (const { id } of await processes()) kill(id, 'SIGTERM');
  if (await waitFor(async () => (await processes()).length === 0, stepLimitMs)) return [];
  for (const { id } of await processes()) {
    const connection = await fuseConnection(id, exportPath);
    if (connection !== null) await exec('unshare', ['--mount', 'sh', '-c', abortScript, 'abort', connection]);
    kill(id, 'SIGKILL');
  }
  await waitFor(async () => (await processes()).length === 0, stepLimitMs);
  return await processes();
}

export interface GuestProcess {
  readonly id: number;
  readonly command: string;
}

async function processesOf(directory: string): Promise<GuestProcess[]> {
  const found: GuestProcess[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const environment = await readFile(`/proc/${name}/environ`, 'utf8').catch(() => '');
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    const marks = [...environment.split('\0'), ...command.split('\0')];
    if (!marks.includes(`${guestVariable}=${directory}`) && !marks.includes(guestName(directory))) continue;
    found.push({ id: Number(name), command: command.replaceAll('\0', ' ') });
  }
  return found;
}

async function isLooped(exportPath: string): Promise<boolean> {
  for (const name of await readdir('/sys/block')) {
    const file = await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '');
    if (file.trim() === exportPath) return true;
  }
  return false;
}

function kill(id: number, name: NodeJS.Signals): void {
  try {
    process.kill(id, name);
  } catch {
    // It has ended.
  }
}
