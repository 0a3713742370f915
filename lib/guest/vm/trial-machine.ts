import { access } from 'node:fs/promises';
import { ImageBuilderError } from '../../errors.ts';
import { guestName } from '../identity.ts';
import { handOver } from './handed-files.ts';
import { type Accelerator, emulatedCpu, type MachineCommand, sandbox, translationMiB } from './machine.ts';

/** The machine in which an image is booted for a trial: as plain as a cloud's, without a network. */

export type Firmware = 'bios' | 'uefi';

export interface TrialMachine {
  readonly emulator: string;
  readonly accelerator: Accelerator;
  readonly firmware: Firmware;
  /** The image, which is only read, and an overlay on it that takes what the system writes. */
  readonly image: { readonly path: string; readonly format: 'qcow2' | 'raw' };
  readonly overlayPath: string;
  /** A copy of the firmware's variables; for UEFI. */
  readonly variablesPath: string;
  /** The guest's folder, by which a later worker finds processes that this one has left running. */
  readonly directory: string;
  /** Descriptors of the console and of the monitor (QMP), both sockets; files follow them. */
  readonly consolePort: number;
  readonly monitorPort: number;
}

/** Memory of the machine: initial ramdisks with all drivers unpack to some 300 MiB. */
export const trialMemoryMiB = 1024;

/** The firmware for UEFI in Debian's and Ubuntu's package `ovmf`. */
const uefiCode = '/usr/share/OVMF/OVMF_CODE_4M.fd';
export const uefiVariables = '/usr/share/OVMF/OVMF_VARS_4M.fd';

/** Throws `guest.unavailable` where the firmware is not installed. */
export async function assertFirmware(firmware: Firmware): Promise<void> {
  if (firmware === 'bios') return;
  for (const path of [uefiCode, uefiVariables]) {
    await access(path).catch((cause: unknown) => {
      const advice = 'apt-get install --no-install-recommends ovmf';
      throw new ImageBuilderError('guest.unavailable', `there is no firmware to boot images by UEFI: ${advice}`, {
        cause,
      });
    });
  }
}

/** The name of the kernel that came up, on the console. */
export const kernelMark = 'imagebuilder-kernel=';

/**
 * Lines of tmpfiles.d(5), which systemd 252 and later takes from the machine (systemd.system-credentials(7)): they write
 * the kernel's version to the console, and switch the machine off as soon as the root file system is there.
 */
const orders = `w /dev/ttyS0 - - - - ${kernelMark}%v\\n\nw /proc/sysrq-trigger - - - - o\n`;

export function trialCommand(trial: TrialMachine): MachineCommand {
  const files = handOver(Math.max(trial.consolePort, trial.monitorPort) + 1);
  const base = `file.driver=file,file.filename=${files.disk(trial.image.path, { writable: false })}`;
  const overlay = `file.driver=file,file.filename=${files.disk(trial.overlayPath, { writable: true })}`;
  const credential = Buffer.from(orders).toString('base64');
  const isUefi = trial.firmware === 'uefi';
  const words = [
    ...['-name', guestName(trial.directory)],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-nic', 'none', '-sandbox', sandbox],
    // The BIOS and its boot loader write to the console then.
    ...['-machine', `q35,graphics=off${isUefi ? ',pflash0=code,pflash1=variables' : ''}`],
    ...(trial.accelerator === 'kvm'
      ? ['-accel', 'kvm', '-cpu', 'host']
      : ['-accel', `tcg,thread=multi,tb-size=${translationMiB}`, '-cpu', emulatedCpu]),
    ...['-smp', '1', '-m', `${trialMemoryMiB}M`],
    ...['-smbios', `type=11,value=io.systemd.credential.binary:tmpfiles.extra=${credential}`],
    ...['-chardev', `socket,id=console,fd=${trial.consolePort}`, '-serial', 'chardev:console'],
    ...['-chardev', `socket,id=monitor,fd=${trial.monitorPort}`, '-mon', 'chardev=monitor,mode=control'],
    ...['-object', 'rng-random,id=random,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=random'],
    ...(isUefi ? firmwareArguments(trial, files) : []),
    ...['-blockdev', `driver=${trial.image.format},node-name=base,read-only=on,${base}`],
    ...['-blockdev', `driver=qcow2,node-name=image,backing=base,cache.no-flush=on,${overlay}`],
    ...['-device', 'virtio-blk-pci,drive=image,bootindex=1,werror=report,rerror=report'],
  ];
  return { arguments: [...files.arguments(), ...words], files: files.files };
}

function firmwareArguments({ variablesPath }: TrialMachine, files: ReturnType<typeof handOver>): string[] {
  const code = files.disk(uefiCode, { writable: false });
  const variables = files.disk(variablesPath, { writable: true });
  return [
    ...['-blockdev', `driver=raw,node-name=code,read-only=on,file.driver=file,file.filename=${code}`],
    ...['-blockdev', `driver=raw,node-name=variables,file.driver=file,file.filename=${variables}`],
  ];
}
