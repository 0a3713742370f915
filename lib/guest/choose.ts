import { ImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Guest } from './guest.ts';
import type { GuestLimits } from './host/cgroup.ts';
import { createHostGuest } from './host/host-guest.ts';
import { probeHost } from './host/probe.ts';
import type { Accelerator } from './vm/machine.ts';
import type { VmSettings } from './vm/prepare.ts';
import { probeVm, type VmProbe } from './vm/probe.ts';
import { createVmGuest } from './vm/vm-guest.ts';

export interface ChosenGuest {
  readonly guest: Guest;
  /** What runs the vm; null for the host guest. */
  readonly accelerator: Accelerator | null;
  /** Why this one, for logs and for people. */
  readonly reason: string;
}

export interface ChooseGuestOptions {
  readonly setting: 'auto' | 'host' | 'vm';
  /** For the files of trials. */
  readonly directory: string;
  readonly vm: VmSettings;
  readonly host: GuestLimits;
  readonly log: Log;
  /** Looks for what either guest needs. Default: the real ones, tried as far as the choice needs them. */
  readonly probes?: GuestProbes;
}

export interface GuestProbes {
  readonly vm: () => Promise<VmProbe>;
  /** What keeps the host guest from working. */
  readonly host: () => Promise<readonly string[]>;
}

/**
 * The way in which this machine can open images, tried and not assumed: as set, or else a vm where KVM works, mounting
 * where this process may, and a vm that is emulated. Throws `guest.unavailable`, naming all that is missing and how to
 * get it.
 */
export async function chooseGuest(options: ChooseGuestOptions): Promise<ChosenGuest> {
  const { setting, log } = options;
  const probes = options.probes ?? { vm: () => probeVm(options.vm), host: () => probeHost(options.directory) };
  const missing: string[] = [];
  const vm = setting === 'host' ? null : await probes.vm();
  if (vm?.usable === true && (setting === 'vm' || vm.accelerator === 'kvm')) {
    return chosenVm(options, vm.accelerator, setting === 'vm' ? `the setting says so; ${vm.reason}` : vm.reason);
  }
  if (vm?.usable === false) missing.push(...vm.missing.map((reason) => `for the guest vm, ${reason}`));
  if (setting !== 'vm') {
    const hindrances = await probes.host();
    if (hindrances.length === 0) {
      const why = vm === null ? 'the setting says so' : 'this process may mount images';
      return { guest: createHostGuest({ limits: options.host, log }), accelerator: null, reason: why };
    }
    missing.push(...hindrances.map((reason) => `for the guest host, ${reason}`));
  }
  if (vm?.usable === true) {
    return chosenVm(options, vm.accelerator, `images cannot be mounted here; slow, since ${vm.reason}`);
  }
  throw new ImageBuilderError('guest.unavailable', `images cannot be opened on this machine: ${missing.join('; ')}`);
}

function chosenVm({ vm, log }: ChooseGuestOptions, accelerator: Accelerator, reason: string): ChosenGuest {
  return { guest: createVmGuest({ ...vm, log }), accelerator, reason };
}
