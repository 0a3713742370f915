import { access, constants, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../../exec.ts';
import { lock } from '../../lock.ts';
import { missingPackages, toolsOf } from '../../tools.ts';
import { execInside } from './namespace.ts';
import { tryContainer } from './probe-container.ts';
import { startSupervisor } from './supervision.ts';

/**
 * What keeps the host guest from working here, one sentence each; nothing where it works. When all that is needed
 * seems to be there, an empty disk is really exported, a loop device really put on it inside the namespaces, and
 * programs really run in a container. There is no weaker host guest for where that does not hold.
 */
export async function probeHost(directory: string): Promise<string[]> {
  const missing: string[] = [];
  if (process.getuid?.() !== 0) missing.push('mounting needs root, and this process is not root');
  const packages = await missingPackages(toolsOf('host'));
  if (packages.length > 0) missing.push(`tools are missing: apt-get install ${packages.join(' ')}`);
  for (const [device, module] of [
    ['/dev/fuse', 'fuse'],
    ['/dev/loop-control', 'loop'],
  ] as const) {
    if (await isUsable(device)) continue;
    missing.push(`${device} cannot be opened: modprobe ${module}, and run containers with --privileged`);
  }
  if (missing.length > 0) return missing;
  const failure = await tryOut(directory);
  return failure === null ? [] : [failure];
}

async function tryOut(parent: string): Promise<string | null> {
  await mkdir(parent, { recursive: true });
  const directory = await mkdtemp(join(parent, 'probe-'));
  // The lock keeps the sweep of another worker from taking the folder for a dead one's.
  await using _held = await lock(directory);
  try {
    const overlayPath = join(directory, 'empty.qcow2');
    const exportPath = join(directory, 'disk.raw');
    await exec('qemu-img', ['create', '-q', '-f', 'qcow2', overlayPath, '1M']);
    await writeFile(exportPath, '');
    await using supervision = await startSupervisor(
      { overlayPath, exportPath, cgroups: [] },
      directory,
      AbortSignal.timeout(30_000),
    );
    const script = 'device=$(losetup --find --show --read-only "$1") && losetup --detach "$device"';
    await execInside(supervision.processId, ['sh', '-c', script, 'probe', exportPath]);
    return await tryContainer(supervision.processId, directory).then(
      () => null,
      (error: unknown) =>
        `crun does not hold what it is to run (${messageOf(error)}): apt-get install crun, 1.8 or later, and run containers with --privileged`,
    );
  } catch (error) {
    return `opening an empty disk failed: ${messageOf(error)}`;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function isUsable(device: string): Promise<boolean> {
  return await access(device, constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
}
