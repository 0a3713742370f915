import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GuestReport } from '../api/event.ts';
import { workerArchitecture } from '../architecture.ts';
import type { GuestSettings } from '../config/guest.ts';
import type { ToolSettings } from '../config/tools.ts';
import { ImageBuilderError, isNodeError, messageOf } from '../errors.ts';
import { chooseGuest } from '../guest/choose.ts';
import { type HostProbe, probeHost } from '../guest/host/probe.ts';
import { findKernel, kernelPackages } from '../guest/vm/kernel.ts';
import { probeVm, type VmProbe } from '../guest/vm/probe.ts';
import { createLog } from '../log.ts';
import { type DeviceState, describeDevice, lookAtDevice } from './devices.ts';
import type { Finding } from './finding.ts';

/** How images can be opened here: tries each guest as its own probe does, and makes the worker's choice. */

export interface GuestState {
  readonly setting: GuestSettings['guest'];
  readonly kvmDevice: DeviceState;
  readonly kernel: { readonly release: string; readonly imagePath: string } | { readonly missing: string };
  readonly vm: VmProbe;
  readonly host: HostProbe;
  /** The guest that a worker would choose here, or why it could choose none. */
  readonly choice: GuestReport | { readonly unavailable: string };
}

const kvmPath = '/dev/kvm';

/**
 * Tries the guests. All files go to a temporary folder of its own, and for the host guest to `workDirectory` where that
 * is given: the files that a worker keeps are neither used nor left in another user's name.
 */
export async function lookAtGuests(
  settings: GuestSettings & ToolSettings,
  workDirectory: string | null,
): Promise<GuestState> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-doctor-'));
  const vmSettings = { ...settings, cacheDirectory: directory };
  try {
    const [vm, host, kernel, kvmDevice] = await Promise.all([
      probeVm(vmSettings).catch(asUnusable),
      probeHost(workDirectory ?? directory, settings.unprivilegedIds),
      findKernel(settings.vmKernelPath).catch((error: unknown) => ({ missing: messageOf(error) })),
      lookAtDevice(kvmPath),
    ]);
    const choice = await chooseGuest({
      setting: settings.guest,
      directory,
      vm: vmSettings,
      host: settings,
      log: createLog({ write: () => {} }),
      probes: { vm: async () => vm, host: async () => host },
    }).then(
      ({ guest, accelerator, reason }): GuestReport => ({ kind: guest.kind, accelerator, reason }),
      (error: unknown) => ({ unavailable: messageOf(error) }),
    );
    return { setting: settings.guest, kvmDevice, kernel, vm, host, choice };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The guests that matter here: the one of the setting, and the host guest where it would be faster than that. */
export function relevantGuests({ setting, choice }: Pick<GuestState, 'setting' | 'choice'>): Set<'host' | 'vm'> {
  if (setting !== 'auto') return new Set([setting]);
  if ('unavailable' in choice || choice.accelerator === 'tcg') return new Set(['host', 'vm']);
  return new Set(['vm']);
}

/** The findings about the guests, the choice last. */
export function guestFindings(state: GuestState): Finding[] {
  const { kernel, vm, choice } = state;
  const { hindrances, unmapped } = state.host;
  const relevant = relevantGuests(state);
  const packages = relevant.has('vm')
    ? { packages: [kernelPackages[workerArchitecture] ?? 'linux-image-generic'] }
    : {};
  const hostTodo = [...(state.setting === 'auto' ? ['set IMAGEBUILDER_GUEST=host'] : []), ...hindrances];
  const wantsHost = relevant.has('host') && hostTodo.length > 0;
  return [
    'missing' in kernel
      ? { what: 'kernel of the vm', ok: true, detail: kernel.missing, ...packages }
      : { what: 'kernel of the vm', ok: true, detail: `${kernel.release} (${kernel.imagePath})` },
    kvmFinding(state, relevant.has('vm')),
    { what: 'vm guest', ok: true, detail: vm.usable ? `works, ${vm.emulator}` : vm.missing.join('; ') },
    {
      what: 'host guest',
      ok: true,
      detail: hindrances.length === 0 ? `works, ${rootInside(unmapped)}` : hindrances.join('; '),
      ...(wantsHost ? { todo: `${aboutHost}: ${hostTodo.join('; ')}` } : {}),
    },
    'unavailable' in choice
      ? { what: 'guest', ok: false, detail: choice.unavailable }
      : { what: 'guest', ok: true, detail: `builds take the ${choice.kind} guest: ${choice.reason}` },
  ];
}

function rootInside(unmapped: string | null): string {
  return unmapped === null
    ? 'in a user namespace: root inside is a user without rights'
    : `without a user namespace, root inside being root: ${unmapped}`;
}

const aboutHost =
  'for the host guest, which is the fastest one, and trusts every base image and package with root on this machine';
const faster = 'builds in the vm guest are then several times faster';

function kvmFinding({ kvmDevice, vm }: GuestState, matters: boolean): Finding {
  const what = 'KVM';
  const todo = (text: string) => (matters ? { todo: `${text}; ${faster}` } : {});
  if (vm.usable && vm.accelerator === 'kvm') return { what, ok: true, detail: vm.reason };
  const device = describeDevice(kvmPath, kvmDevice);
  if (kvmDevice.state === 'missing') {
    const how = 'nested virtualisation on a virtual machine, --device with Docker, a device plugin with Kubernetes';
    return { what, ok: true, detail: device, ...todo(`let ${kvmPath} be there (${how})`) };
  }
  if (kvmDevice.state === 'refused') {
    const how = `add the group ${kvmDevice.group} to this user, or to the container (--group-add)`;
    return { what, ok: true, detail: device, ...todo(`let this user open ${kvmPath}: ${how}`) };
  }
  if (!vm.usable) return { what, ok: true, detail: `${device}, but nothing is here to try it with` };
  return { what, ok: true, detail: vm.reason, ...todo('let guests start with KVM on this machine') };
}

/** Errors of Node's own, such as about a folder that cannot be written, are about this machine too. */
function asUnusable(error: unknown): VmProbe {
  if (!(error instanceof ImageBuilderError) && !isNodeError(error)) throw error;
  return { usable: false, missing: [messageOf(error)] };
}
