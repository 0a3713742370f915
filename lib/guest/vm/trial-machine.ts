import { access } from 'node:fs/promises';
import { ImageBuilderError } from '../../errors.ts';
import { guestName } from '../identity.ts';
import { handOver } from './handed-files.ts';
import { type Accelerator, emulatedCpu } from './machine.ts';
import { type MachineCommand, sandbox, translationMiB } from './machine-command.ts';

/** The machine in which an image is booted for a trial, without a network: as plain as a cloud's, or a PC for media. */

export type Firmware = 'bios' | 'uefi';

/** The drive that the image is in: a disk of a cloud, or a disk or a CD of a PC. */
export type TrialDrive = 'cloud-disk' | 'disk' | 'cd';

export interface TrialMachine {
  readonly emulator: string;
  readonly accelerator: Accelerator;
  readonly firmware: Firmware;
  readonly drive: TrialDrive;
  /** The image, which is only read. */
  readonly image: { readonly path: string; readonly format: 'qcow2' | 'raw' };
  /** An overlay on the image that takes what the system writes; for disks. */
  readonly overlayPath: string;
  /** Whether the machine reports all that is read from its drives, by `tracedRead` on its standard error. */
  readonly reportsReads: boolean;
  /** Whether the machine hands its orders to the system. */
  readonly givesOrders: boolean;
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
  const credential = Buffer.from(orders).toString('base64');
  const isUefi = trial.firmware === 'uefi';
  const isPc = trial.drive !== 'cloud-disk';
  const words = [
    ...['-name', guestName(trial.directory)],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-nic', 'none', '-sandbox', sandbox],
    // The BIOS and its boot loader write to the console then.
    ...['-machine', `${isPc ? 'pc' : 'q35'},graphics=off${isUefi ? ',pflash0=code,pflash1=variables' : ''}`],
    // Menus of media draw on a screen.
    ...(isPc ? ['-device', 'VGA'] : []),
    ...(trial.accelerator === 'kvm'
      ? ['-accel', 'kvm', '-cpu', 'host']
      : ['-accel', `tcg,thread=multi,tb-size=${translationMiB}`, '-cpu', emulatedCpu]),
    ...['-smp', '1', '-m', `${trialMemoryMiB}M`],
    ...(trial.givesOrders
      ? ['-smbios', `type=11,value=io.systemd.credential.binary:tmpfiles.extra=${credential}`]
      : []),
    ...['-chardev', `socket,id=console,fd=${trial.consolePort}`, '-serial', 'chardev:console'],
    ...['-chardev', `socket,id=monitor,fd=${trial.monitorPort}`, '-mon', 'chardev=monitor,mode=control'],
    ...['-object', 'rng-random,id=random,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=random'],
    ...(isUefi ? firmwareArguments(trial, files) : []),
    ...['-blockdev', `driver=${trial.image.format},node-name=base,read-only=on,${base}`],
    ...(trial.drive === 'cd' ? [] : overlayArguments(trial, files)),
    ...['-device', `${devices[trial.drive]},bootindex=1,werror=report,rerror=report`],
    ...(trial.reportsReads ? ['-trace', 'enable=blk_co_preadv'] : []),
  ];
  return { arguments: [...files.arguments(), ...words], files: files.files };
}

/** Every kernel that boots from a CD has a driver for the IDE drives of a PC. */
const devices: Readonly<Record<TrialDrive, string>> = {
  'cloud-disk': 'virtio-blk-pci,drive=image',
  disk: 'ide-hd,drive=image',
  cd: 'ide-cd,drive=base',
};

function overlayArguments({ overlayPath }: TrialMachine, files: ReturnType<typeof handOver>): string[] {
  const overlay = `file.driver=file,file.filename=${files.disk(overlayPath, { writable: true })}`;
  return ['-blockdev', `driver=qcow2,node-name=image,backing=base,cache.no-flush=on,${overlay}`];
}

/**
 * The bytes of a drive that a line of QEMU's trace says are read; null for any other line. QEMU reads its firmware from
 * offset 0, as machines read boot sectors, so these reads do not count.
 */
export function tracedRead(line: string): { readonly offsetBytes: number; readonly sizeBytes: number } | null {
  const [, offset, size] = /^\S{0,60}blk_co_preadv blk \S+ bs \S+ offset (\d{1,15}) bytes (\d{1,10}) /.exec(line) ?? [];
  return offset === undefined || size === undefined || offset === '0'
    ? null
    : { offsetBytes: Number(offset), sizeBytes: Number(size) };
}

/** The beginning of the lines of QEMU's trace. */
export const isTraced = (line: string): boolean => /^\S{0,60}blk_co_preadv /.test(line);

function firmwareArguments({ variablesPath }: TrialMachine, files: ReturnType<typeof handOver>): string[] {
  const code = files.disk(uefiCode, { writable: false });
  const variables = files.disk(variablesPath, { writable: true });
  return [
    ...['-blockdev', `driver=raw,node-name=code,read-only=on,file.driver=file,file.filename=${code}`],
    ...['-blockdev', `driver=raw,node-name=variables,file.driver=file,file.filename=${variables}`],
  ];
}
