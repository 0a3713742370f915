import { ImageBuilderError } from '../../errors.ts';
import { missingPackages, toolsOf } from '../../tools.ts';
import { readBusybox } from './initramfs.ts';
import { findKernel } from './kernel.ts';
import { type Accelerator, requireEmulator } from './machine.ts';
import { prepareVm, type VmSettings } from './prepare.ts';

/** The result of looking for the vm guest here. */
export type VmProbe =
  | {
      readonly usable: true;
      readonly accelerator: Accelerator;
      /** The reason for this accelerator. */
      readonly reason: string;
      /** QEMU's version, in its own words. */
      readonly emulator: string;
      /** The kernel of the vm, such as `6.1.0-40-cloud-amd64`. */
      readonly kernel: string;
    }
  | { readonly usable: false; readonly missing: readonly string[] };

/**
 * Whether vms can be started here, with which programs, and what is missing, one sentence each. KVM is tried at most
 * once per start of the machine.
 */
export async function probeVm(settings: VmSettings): Promise<VmProbe> {
  const missing = await missingTools();
  try {
    const { accelerator, reason, machine, kernel } = await prepareVm(settings);
    if (missing.length === 0) {
      return { usable: true, accelerator, reason, emulator: machine.version, kernel: kernel.release };
    }
  } catch (error) {
    if (!(error instanceof ImageBuilderError)) throw error;
    missing.push(error.message);
  }
  return { usable: false, missing };
}

/** Needs of the vm guest that are missing here, as far as files show; one sentence each. Starts no programs. */
export async function vmLacks({ vmKernelPath }: Pick<VmSettings, 'vmKernelPath'>): Promise<string[]> {
  const looks = [requireEmulator(), findKernel(vmKernelPath), readBusybox()];
  const lacks = (await Promise.allSettled<unknown>(looks)).flatMap((result) => {
    if (result.status === 'fulfilled') return [];
    if (!(result.reason instanceof ImageBuilderError)) throw result.reason;
    return [result.reason.message];
  });
  return [...(await missingTools()), ...lacks];
}

async function missingTools(): Promise<string[]> {
  const packages = await missingPackages(toolsOf('vm'));
  return packages.length === 0 ? [] : [`tools are missing: apt-get install ${packages.join(' ')}`];
}
