import { workerArchitecture } from '../../architecture.ts';
import { mappedIds } from './id-map.ts';
import { systemCallFilter } from './system-calls.ts';

/**
 * The container that each script of a host guest runs in, as the configuration (config.json) of an OCI runtime:
 * github.com/opencontainers/runtime-spec, config.md and config-linux.md.
 */

export interface Container {
  /** The command and its environment. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Block devices that appear in /dev. */
  readonly devices: readonly Device[];
  /** Folders of the worker that appear read-only, by their path inside. */
  readonly folders?: Readonly<Record<string, string>>;
  /** Name of the machine. */
  readonly hostname: string;
  /** Limit for each single process (RLIMIT_DATA), in bytes; null for none. */
  readonly dataBytes: number | null;
  /** The worker's id for root inside, which further ids follow; null without a user namespace, where root is root. */
  readonly firstId: number | null;
  /** Process whose user namespace it joins; missing: it makes one of its own. */
  readonly holderId?: number;
}

/** Folder, in the namespaces that containers start in, where assemble.sh puts the parts of containers. */
export const containerRoot = '/dev/root';
const containerSys = '/dev/sys';
const containerDeviceLinks = '/dev/disk';
const containerCommandLine = '/dev/cmdline';

export interface Device {
  /** Name in /dev. */
  readonly name: string;
  readonly major: number;
  readonly minor: number;
}

/**
 * The capabilities that root keeps inside: those of a container (Docker's default), without making devices and raw
 * sockets. CAP_SYS_ADMIN, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH would each allow an escape from the image.
 */
const capabilities = [
  ...['CAP_CHOWN', 'CAP_DAC_OVERRIDE', 'CAP_FOWNER', 'CAP_FSETID', 'CAP_KILL', 'CAP_SETGID', 'CAP_SETUID'],
  ...['CAP_SETPCAP', 'CAP_SETFCAP', 'CAP_SYS_CHROOT', 'CAP_NET_BIND_SERVICE', 'CAP_AUDIT_WRITE'],
];

/**
 * Paths that reveal facts about the worker's machine, or about other processes. Container engines hide most of them; what
 * packages would take for the image's own machine is here too: swap, arrays of disks, and the ids of the mainboard.
 */
const masked = [
  ...['/proc/acpi', '/proc/asound', '/proc/interrupts', '/proc/kcore', '/proc/key-users', '/proc/keys', '/proc/kmsg'],
  ...['/proc/latency_stats', '/proc/mdstat', '/proc/pressure', '/proc/sched_debug', '/proc/scsi', '/proc/slabinfo'],
  ...['/proc/swaps', '/proc/timer_list', '/proc/timer_stats', '/proc/vmallocinfo'],
  ...[
    '/sys/devices/virtual/dmi',
    '/sys/devices/virtual/powercap',
    '/sys/firmware',
    '/sys/fs/fuse',
    '/sys/kernel/debug',
  ],
];

/** Settings of the kernel belong to the worker. */
const readOnly = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

const bind = (destination: string, source: string, ...options: readonly string[]) => ({
  ...{ destination, source, type: 'bind', options: ['rbind', 'ro', 'nosuid', 'nodev', ...options] },
});

/**
 * The text of a config.json. /dev and /proc are new for every container: a script's changes to them reach no later
 * script and nothing of the worker. /sys cannot be changed. Programs of the image may gain privileges by their files
 * (sudo).
 */
export function renderContainer(container: Container): string {
  const { command, environment, devices, folders = {}, hostname, dataBytes, firstId, holderId } = container;
  const joins = holderId === undefined ? {} : { path: `/proc/${holderId}/ns/user` };
  const user = firstId === null ? [] : [{ type: 'user', ...joins }];
  const mappings = [{ containerID: 0, hostID: firstId, size: mappedIds }];
  return JSON.stringify({
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: command,
      env: Object.entries(environment).map(([name, value]) => `${name}=${value}`),
      cwd: '/',
      noNewPrivileges: false,
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      ...(dataBytes === null ? {} : { rlimits: [{ type: 'RLIMIT_DATA', soft: dataBytes, hard: dataBytes }] }),
    },
    root: { path: containerRoot, readonly: false },
    hostname,
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'nodev', 'noexec'] },
      { destination: '/dev', type: 'tmpfs', source: 'dev', options: ['nosuid', 'mode=755', 'size=64m'] },
      {
        ...{ destination: '/dev/pts', type: 'devpts', source: 'devpts' },
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
      },
      { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: ['nosuid', 'nodev', 'mode=1777'] },
      bind('/dev/disk', containerDeviceLinks),
      bind('/sys', containerSys, 'noexec'),
      bind('/proc/cmdline', containerCommandLine, 'noexec'),
      ...Object.entries(folders).map(([destination, source]) => bind(destination, source)),
    ],
    linux: {
      namespaces: [...['pid', 'mount', 'ipc', 'uts'].map((type) => ({ type })), ...user],
      ...(firstId === null || holderId !== undefined ? {} : { uidMappings: mappings, gidMappings: mappings }),
      devices: devices.map(({ name, major, minor }) => ({
        ...{ path: `/dev/${name}`, type: 'b', major, minor, fileMode: 0o660, uid: 0, gid: 0 },
      })),
      maskedPaths: masked,
      readonlyPaths: readOnly,
      seccomp: systemCallFilter(workerArchitecture),
    },
  });
}
