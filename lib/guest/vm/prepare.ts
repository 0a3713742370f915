import { join } from 'node:path';
import { ImageBuilderError } from '../../errors.ts';
import { makeOwnFolder } from '../../folders/private-folder.ts';
import type { Partition } from '../../image/partition.ts';
import type { IdRange } from '../../privileges.ts';
import { type AcceleratorChoice, chooseAccelerator } from './accelerator.ts';
import { prepareInitramfs, readBusybox } from './initramfs.ts';
import { featureModules, fileSystemModules, findKernel, type GuestKernel } from './kernel.ts';
import type { VmLimits } from './limits.ts';
import type { LinkedProgram } from './linked-program.ts';
import { deviceModules, findMachine, type Machine } from './machine.ts';
import { vmFolder } from './saved-states.ts';

/** The parts of a vm on this machine. */

export interface VmSettings extends VmLimits {
  /** Folder of the worker's cache; its folder `vm` keeps initramfs, states and the verdict on KVM. */
  readonly cacheDirectory: string;
  /** Path of the kernel, its modules in /lib/modules; empty: the newest in /boot. */
  readonly vmKernelPath: string;
  /** Whether scripts reach the worker's proxy. */
  readonly vmNetwork: boolean;
  /** Processors of the vm; null for as many as are free. */
  readonly vmCpus: number | null;
  /** The user ids for QEMU where this process is root. */
  readonly unprivilegedIds: IdRange;
}

export interface VmParts extends AcceleratorChoice {
  readonly machine: Machine;
  readonly kernel: GuestKernel;
  /** The content of the program. */
  readonly busybox: Buffer;
  readonly directory: string;
}

/** Finds the parts, and whether KVM works. Throws `guest.unavailable` with all missing parts and their packages. */
export async function prepareVm(settings: VmSettings): Promise<VmParts> {
  const directory = join(settings.cacheDirectory, vmFolder);
  const found = await Promise.allSettled([findMachine(), findKernel(settings.vmKernelPath), readBusybox()]);
  const failed = found.filter((result) => result.status === 'rejected').map(({ reason }) => reason as unknown);
  const [machine, kernel, busybox] = found;
  if (machine.status === 'rejected' || kernel.status === 'rejected' || busybox.status === 'rejected')
    throw allOf(failed);
  const parts = { machine: machine.value, kernel: kernel.value, busybox: busybox.value, directory };
  await makeOwnFolder(directory);
  const initramfsPath = await initramfsFor(parts, []);
  const choice = await chooseAccelerator({
    machine: parts.machine,
    kernelPath: parts.kernel.imagePath,
    initramfsPath,
    directory,
    unprivilegedIds: settings.unprivilegedIds,
  });
  return { ...parts, ...choice };
}

/** One error for several missing parts, each with its package. */
function allOf(errors: readonly unknown[]): unknown {
  const [first, ...more] = errors;
  const missing = errors.filter((error) => error instanceof ImageBuilderError && error.code === 'guest.unavailable');
  if (more.length === 0 || missing.length < errors.length) return first;
  const messages = missing.map((error) => (error as ImageBuilderError).message);
  return new ImageBuilderError('guest.unavailable', messages.join('; '), { cause: first });
}

/** Beside what every initramfs has. */
export interface InitramfsAdditions {
  readonly modules: readonly string[];
  readonly program: LinkedProgram | null;
}

/** The initramfs with the modules for the file systems of these partitions. */
export async function initramfsFor(
  { machine, kernel, busybox, directory }: Omit<VmParts, keyof AcceleratorChoice>,
  partitions: readonly Partition[],
  additions: InitramfsAdditions = { modules: [], program: null },
): Promise<string> {
  const fileSystems = partitions.flatMap(({ fileSystem }) => {
    const modules = fileSystem === null ? undefined : fileSystemModules[fileSystem.type];
    return modules === undefined ? [] : [modules];
  });
  return await prepareInitramfs({
    ...{ kernel, busybox },
    modules: [...machine.modules, ...deviceModules, ...additions.modules, ...fileSystems.flatMap(({ names }) => names)],
    optionalModules: [...fileSystems.flatMap(({ optional }) => optional), ...featureModules(partitions)],
    program: additions.program,
    directory,
  });
}
