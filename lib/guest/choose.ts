import { ImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Guest } from './guest.ts';
import { createHostGuest } from './host/host-guest.ts';
import { probeHost } from './host/probe.ts';
import type { VmSettings } from './vm/prepare.ts';
import { probeVm } from './vm/probe.ts';
import { createVmGuest } from './vm/vm-guest.ts';

export interface ChosenGuest {
  readonly guest: Guest;
  /** Why this one, for logs and for people. */
  readonly reason: string;
}

export interface ChooseGuestOptions {
  readonly setting: 'auto' | 'host' | 'vm';
  /** For the files of trials. */
  readonly directory: string;
  readonly vm: VmSettings;
  readonly log: Log;
}

/**
 * The way in which this machine can open images, tried and not assumed: as set, or else a vm where KVM works, mounting
 * where this process may, and a vm that is emulated. Throws `guest.unavailable`, naming all that is missing and how to
 * get it.
 */
export async function chooseGuest(options: ChooseGuestOptions): Promise<ChosenGuest> {
  const { setting, log } = options;
  const missing: string[] = [];
  const vm = setting === 'host' ? null : await probeVm(options.vm);
  if (vm?.usable === true && (setting === 'vm' || vm.accelerator === 'kvm')) {
    return chosenVm(options, setting === 'vm' ? `the setting says so; ${vm.reason}` : vm.reason);
  }
  if (vm?.usable === false) missing.push(...vm.missing.map((reason) => `for the guest vm, ${reason}`));
  if (setting !== 'vm') {
    const hindrances = await probeHost(options.directory);
    if (hindrances.length === 0) {
      const why = vm === null ? 'the setting says so' : 'this process may mount images';
      return { guest: createHostGuest({ log }), reason: why };
    }
    missing.push(...hindrances.map((reason) => `for the guest host, ${reason}`));
  }
  if (vm?.usable === true) {
    return chosenVm(options, `images cannot be mounted here; slow, since ${vm.reason}`);
  }
  throw new ImageBuilderError('guest.unavailable', `images cannot be opened on this machine: ${missing.join('; ')}`);
}

function chosenVm({ vm, log }: ChooseGuestOptions, reason: string): ChosenGuest {
  return { guest: createVmGuest({ ...vm, log }), reason };
}
