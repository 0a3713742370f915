import { access } from 'node:fs/promises';
import { workerArchitecture } from '../../architecture.ts';
import { ImageBuilderError } from '../../errors.ts';
import { exec } from '../../exec.ts';
import { findTool } from '../../tools.ts';

/** The machine of the vm by processor architecture: its emulator, and the modules with drivers for its devices. */

export type Accelerator = 'kvm' | 'tcg';

export interface Machine {
  /** The emulator, such as `qemu-system-x86_64`. */
  readonly emulator: string;
  /** The emulator's version, in its own words. */
  readonly version: string;
  /** As in QEMU's `-machine`. */
  readonly type: string;
  /** The processor to emulate, in QEMU's terms; with KVM it is the host's own. */
  readonly cpu: string;
  /** How virtio devices are attached: the end of their names. */
  readonly bus: 'device' | 'pci';
  /** Firmware in place of QEMU's own; null for QEMU's. */
  readonly firmware: string | null;
  /** Device for the kernel's messages. */
  readonly console: string;
  /** Modules that find the virtio devices on this machine. */
  readonly modules: readonly string[];
}

/** The emulators by architecture, and the Debian packages that have them. */
export const emulators: Readonly<Record<string, { readonly name: string; readonly package: string }>> = {
  amd64: { name: 'qemu-system-x86_64', package: 'qemu-system-x86' },
  arm64: { name: 'qemu-system-aarch64', package: 'qemu-system-arm' },
};

/** The emulator for an architecture. Throws `guest.unavailable` where there is none here, without starting it. */
export async function requireEmulator(architecture: string = workerArchitecture) {
  const emulator = emulators[architecture];
  if (emulator === undefined) {
    throw new ImageBuilderError('guest.unavailable', `there is no vm for the architecture ${architecture}`);
  }
  if ((await findTool(emulator.name)) === null) {
    const install = `apt-get install --no-install-recommends ${emulator.package}`;
    throw new ImageBuilderError('guest.unavailable', `the vm needs ${emulator.name}: ${install}`);
  }
  return emulator;
}

/** The machine for an architecture, which is by default the worker's own. Throws `guest.unavailable`. */
export async function findMachine(architecture: string = workerArchitecture): Promise<Machine> {
  const emulator = await requireEmulator(architecture);
  let version: string;
  try {
    version = (await exec(emulator.name, ['-version'])).stdout.split('\n')[0] ?? '';
  } catch (error) {
    throw new ImageBuilderError(
      'guest.unavailable',
      `${error instanceof Error ? error.message : String(error)}: apt-get install --no-install-recommends ${emulator.package}`,
      { cause: error },
    );
  }
  if (architecture === 'arm64') {
    return {
      emulator: emulator.name,
      version,
      type: 'virt,gic-version=max',
      cpu: 'max',
      bus: 'device',
      firmware: null,
      console: 'ttyAMA0',
      modules: ['virtio_mmio'],
    };
  }
  return {
    emulator: emulator.name,
    version,
    // Not the microvm: Linux measures the processor's clock by its only other clock, and gives up on that one when the
    // emulator gets too little processor time; then it waits for ever. This machine has other clocks, and starts a
    // second later.
    type: 'q35,usb=off,sata=off,smbus=off,vmport=off',
    cpu: emulatedCpu,
    bus: 'pci',
    firmware: await access(quickFirmware).then(
      () => quickFirmware,
      () => null,
    ),
    console: 'ttyS0',
    modules: ['virtio_pci'],
  };
}

/**
 * All features of the emulator but fast string instructions: Linux would copy memory by them, and they are emulated
 * byte by byte.
 */
export const emulatedCpu = 'max,-erms,-fsrm';

/** Starts a kernel half a second sooner than SeaBIOS; part of qemu-system-data. */
const quickFirmware = '/usr/share/qemu/qboot.rom';

/** Modules that every vm needs: its disks, ports, randomness, and the file system of the payload. */
export const deviceModules = ['virtio_blk', 'virtio_console', 'virtio_rng', 'isofs'];

/** Modules for its network device. */
export const networkModules = ['virtio_net'];
