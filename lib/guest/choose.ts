import { release } from 'node:os';
import { ImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { IdRange } from '../privileges.ts';
import { withVmForForeign } from './foreign.ts';
import type { Guest } from './guest.ts';
import type { GuestLimits } from './host/cgroup.ts';
import { createHostGuest } from './host/host-guest.ts';
import { type HostProbe, hostLacks, probeHost } from './host/probe.ts';
import type { Accelerator } from './vm/machine.ts';
import type { VmSettings } from './vm/prepare.ts';
import { probeVm, type VmProbe, vmLacks } from './vm/probe.ts';
import { createVmGuest } from './vm/vm-guest.ts';

export interface ChosenGuest {
  readonly guest: Guest;
  /** How the vm runs: `kvm` or `tcg`; null for the host guest. */
  readonly accelerator: Accelerator | null;
  /** The release of the kernel that opens images: this machine's own, or that of the vm. */
  readonly kernel: string;
  /** QEMU's version; null for the host guest. */
  readonly emulator: string | null;
  /** The reason of the choice, for logs and for people. */
  readonly reason: string;
}

export interface ChooseGuestOptions {
  readonly setting: 'auto' | 'host' | 'vm';
  /** Folder for the files of trials. */
  readonly directory: string;
  readonly vm: VmSettings;
  readonly host: GuestLimits & { readonly unprivilegedIds: IdRange };
  readonly log: Log;
  /** Look for the needs of either guest. Default: the real probes, run as far as the choice needs them. */
  readonly probes?: GuestProbes;
}

export interface GuestProbes {
  readonly vm: () => Promise<VmProbe>;
  readonly host: () => Promise<HostProbe>;
}

/**
 * Chooses the guest by trying, without assumptions: a vm, emulated where KVM does not work, unless the operator has
 * named the host guest. The host guest trusts base images and packages, which callers choose, so it is never the
 * default. Throws `guest.unavailable`, naming all that is missing and how to get it.
 */
export async function chooseGuest(options: ChooseGuestOptions): Promise<ChosenGuest> {
  return options.setting === 'host' ? await chooseHost(options) : await chooseVm(options);
}

/**
 * Throws `guest.unavailable` where the choice would, as far as files and rights show it. It starts no programs, so it
 * can be asked before every build.
 */
export async function requireGuestNeeds(settings: {
  readonly guest: ChooseGuestOptions['setting'];
  readonly vmKernelPath: string;
}): Promise<void> {
  const lacks = settings.guest === 'host' ? await hostLacks() : await vmLacks(settings);
  if (lacks.length > 0) throw settings.guest === 'host' ? noHost(lacks) : noVm(lacks, settings.guest);
}

async function chooseHost({ probes, directory, host, vm, log }: ChooseGuestOptions): Promise<ChosenGuest> {
  const { hindrances, unmapped } = await (probes?.host() ?? probeHost(directory, host.unprivilegedIds));
  if (hindrances.length > 0) throw noHost(hindrances);
  const reason = 'the setting says so; base images and packages are trusted, as root on this machine';
  if (unmapped !== null) log.warn('root in images is root on the worker: no user namespace', { reason: unmapped });
  const settings = { limits: host, ids: host.unprivilegedIds, userNamespace: unmapped === null, log };
  // Room for memory is not planned where the host guest is named.
  const guest = withVmForForeign(createHostGuest(settings), createVmGuest({ ...vm, vmSwapBytes: 0, log }));
  return { guest, accelerator: null, kernel: release(), emulator: null, reason };
}

async function chooseVm({ probes, setting, vm: settings, log }: ChooseGuestOptions): Promise<ChosenGuest> {
  const vm = await (probes?.vm() ?? probeVm(settings));
  if (!vm.usable) throw noVm(vm.missing, setting);
  const { accelerator, kernel, emulator, reason } = vm;
  const why = accelerator === 'kvm' ? reason : `slow, since ${reason}`;
  return {
    guest: createVmGuest({ ...settings, log }),
    ...{ accelerator, kernel, emulator },
    reason: setting === 'vm' ? `the setting says so; ${why}` : why,
  };
}

function noHost(missing: readonly string[]): ImageBuilderError {
  return unavailable(`for the guest host, ${missing.join('; ')}`);
}

function noVm(missing: readonly string[], setting: ChooseGuestOptions['setting']): ImageBuilderError {
  const other = 'the guest host is taken only where IMAGEBUILDER_GUEST names it';
  return unavailable(`for the guest vm, ${missing.join('; ')}${setting === 'auto' ? `; ${other}` : ''}`);
}

function unavailable(missing: string): ImageBuilderError {
  return new ImageBuilderError('guest.unavailable', `images cannot be opened on this machine: ${missing}`);
}
