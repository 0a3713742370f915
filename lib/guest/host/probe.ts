import { access, constants, mkdir, mkdtemp, realpath, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../errors.ts';
import { exec } from '../../exec.ts';
import { lock } from '../../lock.ts';
import { type IdRange, mayMount } from '../../privileges.ts';
import { missingPackages, toolsOf } from '../../tools.ts';
import { newFirstId, rangeHindrance } from './id-map.ts';
import { lendDisk } from './lent-disk.ts';
import { execInside } from './namespace.ts';
import { prepareProbe, runProbe } from './probe-container.ts';
import { startSupervisor } from './supervision.ts';

export interface HostProbe {
  /** Reasons why the host guest cannot work here, one sentence each; empty where it works. */
  readonly hindrances: readonly string[];
  /** The reason why root inside is root on the worker, without a user namespace; null where there is one. */
  readonly unmapped: string | null;
}

/**
 * Looks for the needs of the host guest and then tries them: exports an empty disk, puts a loop device on it inside the
 * namespaces, and runs programs in a container whose user namespace has ids out of `ids`. Where a container does not
 * confine its processes, there is no host guest. Without a user namespace there is one.
 */
export async function probeHost(directory: string, ids: IdRange): Promise<HostProbe> {
  const missing = await hostLacks();
  if (missing.length > 0) return unusable(...missing);
  return await tryOut(directory, ids);
}

/** Needs of the host guest that are missing here, as far as files and rights show; one sentence each. Starts no programs. */
export async function hostLacks(): Promise<string[]> {
  const missing: string[] = [];
  if (process.getuid?.() !== 0) missing.push('mounting needs root, and this process is not root');
  else if (!mayMount()) missing.push('mounting needs CAP_SYS_ADMIN: run containers with --privileged');
  const packages = await missingPackages(toolsOf('host'));
  if (packages.length > 0) missing.push(`tools are missing: apt-get install ${packages.join(' ')}`);
  for (const [device, module] of [
    ['/dev/fuse', 'fuse'],
    ['/dev/loop-control', 'loop'],
  ] as const) {
    if (await isUsable(device)) continue;
    missing.push(`${device} cannot be opened: modprobe ${module}, and run containers with --privileged`);
  }
  return missing;
}

function unusable(...hindrances: readonly string[]): HostProbe {
  return { hindrances, unmapped: 'the guest does not work' };
}

async function tryOut(parent: string, ids: IdRange): Promise<HostProbe> {
  await mkdir(parent, { recursive: true });
  const directory = await mkdtemp(join(await realpath(parent), 'probe-'));
  // The lock keeps the sweep of another worker from removing the folder as a dead worker's.
  await using _held = await lock(directory);
  try {
    const base = { path: join(directory, 'empty.raw'), format: 'raw' } as const;
    const overlayPath = join(directory, 'empty.qcow2');
    const exportPath = join(directory, 'disk.raw');
    for (const path of [base.path, exportPath]) await writeFile(path, '');
    await truncate(base.path, 2 ** 20);
    await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base.path, '-F', 'raw', overlayPath]);
    await using lent = await lendDisk({ overlayPath, base }, ids);
    await using supervision = await startSupervisor(
      { exportPath, cgroups: [] },
      lent.disk,
      directory,
      AbortSignal.timeout(30_000),
    );
    const script = 'device=$(losetup --find --show --read-only "$1") && losetup --detach "$device"';
    await execInside(supervision.processId, ['sh', '-c', script, 'probe', exportPath]);
    return await tryContainers(supervision.processId, directory, ids);
  } catch (error) {
    return unusable(`opening an empty disk failed: ${messageOf(error)}`);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** With a user namespace if possible, else without. */
async function tryContainers(processId: number, directory: string, ids: IdRange): Promise<HostProbe> {
  const hindrance = rangeHindrance(ids);
  const firstId = hindrance === null ? newFirstId(ids) : null;
  let unmapped = (await prepareProbe(processId, directory, firstId)) ?? hindrance;
  const run = async (id: number | null) => await runProbe(processId, directory, id).then(() => null, messageOf);
  if (unmapped === null) unmapped = await run(firstId);
  const failure = unmapped === null ? null : await run(null);
  if (failure === null) return { hindrances: [], unmapped };
  const remedy = 'apt-get install crun, 1.8 or later, and run containers with --privileged';
  return unusable(`crun does not hold what it is to run (${failure}): ${remedy}`);
}

async function isUsable(device: string): Promise<boolean> {
  return await access(device, constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
}
