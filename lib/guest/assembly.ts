import { architectureOf, foreignImage, runsOn } from '../architecture.ts';
import { ImageBuilderError } from '../errors.ts';
import { ExecError } from '../exec.ts';
import type { FileSystemType, Partition } from '../image/partition.ts';
import { lineAfter } from '../text.ts';
import type { GuestBind } from './guest.ts';
import type { MountOptions } from './mount-options.ts';
import type { ClosedMount, PlannedMount } from './plan-mounts.ts';
import { mountArguments, overlayOptions, type Stack } from './stack.ts';

/** The input and output of scripts/assemble.sh, which puts together the file tree that scripts inside an image see. */
export interface Assembly {
  /** Open partitions, with their device numbers in the place where assemble.sh runs. */
  readonly devices: readonly { readonly partition: Partition; readonly major: number; readonly minor: number }[];
  /** Parents before children, the root first. */
  readonly mounts: readonly PlannedMount[];
  /** Folders of the image that appear in another place of it. */
  readonly again: readonly GuestBind[];
  /** The driver that mounts a type of file system, where that is another one. */
  readonly driver?: (type: FileSystemType) => FileSystemType;
  readonly mountOptions: MountOptions;
  readonly binds: readonly GuestBind[];
}

/** The input of assemble.sh. */
export function renderAssembly({ devices, mounts, again, driver, mountOptions, binds }: Assembly): string {
  return renderLines([
    ...devices.map(({ partition, major, minor }) => {
      const { number, fileSystem, partitionUuid } = partition;
      return [
        ...['node', number, major, minor],
        ...[field(fileSystem?.label), field(fileSystem?.uuid), field(partitionUuid)],
      ];
    }),
    ...mounts.map(({ partition, subvolume }, id) => {
      const type = partition.fileSystem?.type ?? 'ext4';
      return ['open', id, partition.number, driver?.(type) ?? type, withSubvolume(mountOptions[type] ?? '', subvolume)];
    }),
    ...devices.map(({ partition }) => ['opened', partition.number]),
    ...mounts.map(({ target }, id) => ['mount', id, target]),
    ...again.map(({ source, target }) => ['again', source, target]),
    ...binds.map(({ source, target }) => ['bind', source, target]),
  ]);
}

function renderLines(lines: readonly (readonly (string | number)[])[]): string {
  return lines.map((line) => `${line.join('\t')}\n`).join('');
}

/** The input of assemble.sh for a stack of layers, with their devices as in `Assembly`. */
export function renderStack(
  { layers, scratch }: Stack,
  devices: Assembly['devices'],
  binds: readonly GuestBind[],
): string {
  const opened = [...layers, scratch];
  const upper = scratch.number;
  const lower = layers.map(({ number }) => number).toReversed();
  return renderLines([
    ...devices.map(({ partition, major, minor }) => ['node', partition.number, major, minor, '-', '-', '-']),
    ...opened.map((partition) => ['open', partition.number, partition.number, ...mountArguments(partition)]),
    ['stack', 0, upper, lower.join(' '), overlayOptions],
    ['mount', 0, '/'],
    ...binds.map(({ source, target }) => ['bind', source, target]),
  ]);
}

/** Mount options with those that choose a subvolume of btrfs. */
export function withSubvolume(options: string, subvolume: string): string {
  return subvolume === '' ? options : `${options},${subvolume}`;
}

const closedBy = new Map([
  ['closed', 'its boot lets another file or folder appear there'],
  ['absent', 'its btrfs has no subvolume of the name that the image’s boot wants there'],
]);

/** The mount points that assemble.sh could not open, nor let appear in another place. */
export function closedByAssembly(output: string): ClosedMount[] {
  return output.split('\n').flatMap((line) => {
    const colon = line.indexOf(': ');
    const reason = colon < 0 ? undefined : closedBy.get(line.slice(0, colon));
    return reason === undefined ? [] : [{ target: line.slice(colon + 2), reason }];
  });
}

/** A label or UUID, as the name of a link in /dev/disk; empty where it cannot be a file name. */
function field(value: string | null | undefined): string {
  return value !== null && value !== undefined && /^[A-Za-z0-9][A-Za-z0-9._+-]*$/.test(value) ? value : '-';
}

/**
 * Throws `image.unsupported` where the image's programs, of which assemble.sh printed the first bytes of one, do not run
 * on the machine of the guest.
 */
export function assertRuns(output: string, machineArchitecture: string): void {
  const head = Buffer.from(lineAfter(output, 'program: ')?.replaceAll(' ', '') ?? '', 'hex');
  const architecture = architectureOf(head);
  if (architecture !== null && !runsOn(machineArchitecture, architecture)) throw foreignImage(architecture);
}

/** `image.unsupported` where assemble.sh has failed because of that; any other error as it is. */
export function assemblyError(error: unknown): unknown {
  const reason = error instanceof ExecError ? lineAfter(error.stderr, 'unsupported: ') : undefined;
  return reason === undefined ? error : new ImageBuilderError('image.unsupported', reason, { cause: error });
}
