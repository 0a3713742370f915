import type { BaseFile } from '../guest.ts';
import { guestName } from '../identity.ts';
import { type HandedFile, handOver } from './handed-files.ts';
import type { Accelerator, Machine } from './machine.ts';

/** The command line of QEMU: a machine with its devices. */

export interface Disk {
  /** Name of a block node, or the path of a raw file; `blank` for one without content, of a vm that is to be saved. */
  readonly source: { readonly node: string } | { readonly rawPath: string; readonly readOnly: boolean } | 'blank';
  /** Serial number by which the guest finds the disk, at most 20 characters. */
  readonly serial: string;
}

export interface MachineOptions {
  readonly machine: Machine;
  readonly accelerator: Accelerator;
  readonly kernelPath: string;
  readonly initramfsPath: string;
  readonly memoryBytes: number;
  readonly cpus: number;
  /** The qcow2 overlay, its base, and the parts of it that become disks; null for a vm without an image. */
  readonly overlay: OverlayDisk | null;
  readonly disks: readonly Disk[];
  /** The worker's proxy, which the guest then reaches at `guestProxyUrl`; null for no network device. */
  readonly proxy: { readonly host: string; readonly port: number } | null;
  /** Names of the ports in the order of their file descriptors, the first of which is `firstPort`. */
  readonly ports: readonly string[];
  readonly firstPort: number;
  /** Path of a saved state of a vm with the same devices, with which it goes on; null where it boots. */
  readonly statePath: string | null;
  /** Folder of the socket to which it saves its state, by orders to a monitor that it then has; null for neither. */
  readonly saveFolder: string | null;
  /** The guest's folder, by which a later worker finds processes that this one has left running. */
  readonly directory: string;
}

export interface OverlayDisk {
  readonly path: string;
  readonly base: BaseFile;
  readonly parts: readonly DiskPart[];
}

export interface DiskPart {
  readonly serial: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
}

const MiB = 1024 * 1024;

/** The addresses of QEMU's user-mode network. */
export const guestAddress = '10.0.2.15/24';
const proxyAddress = '10.0.2.100';
const proxyPort = 3128;
export function guestProxyUrl(url: URL): string {
  const inside = new URL(url);
  inside.host = `${proxyAddress}:${proxyPort}`;
  return inside.href.replace(/\/$/, '');
}

/** Name of the socket in the folder to which a vm saves its state. */
export const stateSocket = 'socket';

/**
 * Memory for translated code. QEMU's own default is an eighth of the memory of the machine up to 1 GiB, which counts
 * against the limit of a container without making builds faster.
 */
export const translationMiB = 256;

/** Groups of system calls that QEMU gives up before the guest runs. */
export const sandbox = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';
/** With a network QEMU starts a process per connection, each in a session of its own, which counts as a privilege. */
const sandboxWithChildren = 'on,obsolete=deny,resourcecontrol=deny';

export interface MachineCommand {
  /** The arguments of the emulator. */
  readonly arguments: readonly string[];
  /** Files that it inherits after its ports and its monitor, in this order. */
  readonly files: readonly HandedFile[];
}

export interface VmCommand extends MachineCommand {
  /** Where it saves its state to, in QEMU's terms; null without a folder for that. */
  readonly saveUri: string | null;
}

/** The command line of QEMU. It opens no file of a build, nor of the vm's own, by its path. */
export function machineCommand(options: MachineOptions): VmCommand {
  const { saveFolder, firstPort, ports } = options;
  const files = handOver(firstPort + ports.length + (saveFolder === null ? 0 : 1));
  const saveUri = saveFolder === null ? null : `unix:/proc/self/fd/${files.inherited(saveFolder)}/${stateSocket}`;
  const described = describe(options, files);
  return { arguments: [...files.arguments(), ...described], files: files.files, saveUri };
}

type Files = ReturnType<typeof handOver>;

function describe(options: MachineOptions, files: Files): string[] {
  const { machine, accelerator, overlay, proxy } = options;
  const { bus } = machine;
  return [
    ...['-name', guestName(options.directory)],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-sandbox', proxy === null ? sandbox : sandboxWithChildren],
    ...['-machine', machine.type],
    ...(machine.firmware === null ? [] : ['-bios', machine.firmware]),
    ...(accelerator === 'kvm'
      ? ['-accel', 'kvm', '-cpu', 'host']
      : ['-accel', `tcg,thread=multi,tb-size=${translationMiB}`, '-cpu', machine.cpu]),
    ...['-smp', String(options.cpus), '-m', `${Math.floor(options.memoryBytes / MiB)}M`],
    ...[
      '-kernel',
      files.plain(options.kernelPath),
      '-initrd',
      files.plain(options.initramfsPath),
      '-append',
      kernelCommandLine(machine, accelerator),
    ],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-object', 'rng-random,id=random,filename=/dev/urandom', '-device', `virtio-rng-${bus},rng=random`],
    ...['-device', `virtio-serial-${bus},max_ports=${options.ports.length + 1}`],
    ...options.ports.flatMap((name, index) => [
      ...['-chardev', `socket,id=${name},fd=${options.firstPort + index}`],
      ...['-device', `virtserialport,chardev=${name},nr=${index + 1},name=${name}`],
    ]),
    ...(overlay === null ? [] : overlayArguments(overlay, bus, files)),
    ...options.disks.flatMap(({ source, serial }) => diskArguments(source, serial, bus, files)),
    ...(proxy === null ? [] : networkArguments(proxy, bus)),
    ...stateArguments(options, files),
  ];
}

function stateArguments({ statePath, saveFolder, firstPort, ports }: MachineOptions, files: Files): string[] {
  if (statePath !== null) return ['-incoming', `fd:${files.inherited(statePath)}`];
  if (saveFolder === null) return [];
  const monitor = `socket,id=monitor,fd=${firstPort + ports.length}`;
  return ['-chardev', monitor, '-mon', 'chardev=monitor,mode=control'];
}

/**
 * Settings of the kernel. An oops ends the vm as a panic does; a panic restarts it, and `-no-reboot` turns a restart
 * into its end. The other settings save time: init.sh starts the other processors, whose counters are in step; the
 * kernel starts with its code for several processors instead of patching twice; its ciphers need no test.
 *
 * The kernel measures the speed of the counters as it starts. On a busy machine that goes wrong under emulation (clocks
 * at several times the speed were seen): there, a device gives the time, and a slow answer of its timer is no reason to
 * panic.
 *
 * An emulator keeps translated code by its address. There, programs have the same addresses at each start, at which they are
 * not translated anew.
 *
 * The kernel's random numbers are seeded by the random device and the worker alone, once the vm begins: no saved state may
 * have seeded ones.
 */
function kernelCommandLine({ console }: Machine, accelerator: Accelerator): string {
  const fast = 'maxcpus=1 noreplace-smp mitigations=off tsc=reliable cryptomgr.notests edd=off';
  const emulated = accelerator === 'tcg' ? ' no_timer_check clocksource=hpet norandmaps' : '';
  const random = 'random.trust_cpu=off random.trust_bootloader=off';
  return `console=${console} quiet panic=-1 oops=panic reboot=t ${fast} ${random}${emulated}`;
}

/**
 * Each partition is a disk of its own, cut out of the overlay: the vm has no partition table that it could read
 * differently from the worker, nothing outside the partitions can be written, and devices are as on a host's loops.
 */
function overlayArguments({ path, base, parts }: OverlayDisk, bus: string, files: Files): string[] {
  // The overlay is thrown away after a crash, so nothing is gained by flushing it to the disk.
  const file = `file.driver=file,file.filename=${files.disk(path, { writable: true })},file.discard=unmap`;
  const baseFile = `file.driver=file,file.filename=${files.disk(base.path, { writable: false })}`;
  return [
    ...['-blockdev', `driver=${base.format},node-name=base,read-only=on,${baseFile}`],
    ...['-blockdev', `driver=qcow2,node-name=image,backing=base,discard=unmap,cache.no-flush=on,${file}`],
    ...parts.flatMap(({ serial, offsetBytes, sizeBytes, readOnly }) => [
      '-blockdev',
      `driver=raw,node-name=${serial},${readOnly ? 'read-only=on' : 'discard=unmap'},cache.no-flush=on,file=image,offset=${offsetBytes},size=${sizeBytes}`,
      ...diskArguments({ node: serial }, serial, bus, files),
    ]),
  ];
}

/**
 * Errors are reported to the guest: otherwise QEMU would stop it, and the worker wait, when the worker's disk is full.
 */
function diskArguments(source: Disk['source'], serial: string, bus: string, files: Files): string[] {
  const node = source !== 'blank' && 'node' in source ? source.node : serial;
  const device = `virtio-blk-${bus},drive=${node},serial=${serial},share-rw=on,werror=report,rerror=report`;
  if (source === 'blank') return ['-blockdev', `driver=null-co,node-name=${serial},size=512`, '-device', device];
  if ('node' in source) return ['-device', device];
  const access = source.readOnly ? 'read-only=on' : 'discard=unmap';
  const path = files.disk(source.rawPath, { writable: !source.readOnly });
  return [
    '-blockdev',
    `driver=raw,node-name=${serial},${access},cache.no-flush=on,file.driver=file,file.filename=${path},file.locking=off${source.readOnly ? '' : ',file.discard=unmap'}`,
    ...['-device', device],
  ];
}

/** Only the proxy can be reached, by one process per connection: QEMU itself forwards only to fixed partners. */
function networkArguments({ host, port }: NonNullable<MachineOptions['proxy']>, bus: string): string[] {
  const forward = `guestfwd=tcp:${proxyAddress}:${proxyPort}-cmd:busybox nc ${host} ${port}`;
  const device = `virtio-net-${bus},netdev=network${bus === 'pci' ? ',romfile=' : ''}`;
  return ['-netdev', `user,id=network,restrict=on,${forward}`, '-device', device];
}
