import type { Partition } from '../image/partition.ts';
import type { LayeredDisk, Region } from './guest.ts';
import { mountOptions } from './mount-options.ts';

/** The layers of a live medium, and the file system above them that takes the changes. */
export interface Stack {
  /** The bottom one first. */
  readonly layers: readonly Partition[];
  readonly scratch: Partition;
}

/** Drivers that the kernel needs to open a stack, beside that of the scratch file system. */
export const stackModules = ['squashfs', 'overlay'];

/**
 * Of the kernel's features of overlays, none that needs further attributes in the upper directory: it is to be a layer
 * by itself (Documentation/filesystems/overlayfs.rst).
 */
export const overlayOptions = 'redirect_dir=off,index=off,metacopy=off,xino=off';

const sectorBytes = 512;

/** The file systems of a layered disk as partitions of it, the layers with numbers from 1. */
export function stackOf({ layers, scratch }: LayeredDisk): Stack {
  return {
    layers: layers.map((region, index) => asPartition(region, index + 1, 'squashfs')),
    scratch: asPartition(scratch, layers.length + 1, 'ext4'),
  };
}

function asPartition({ offsetBytes, sizeBytes }: Region, number: number, type: 'squashfs' | 'ext4'): Partition {
  const whole = Math.ceil(sizeBytes / sectorBytes) * sectorBytes;
  return {
    ...{ number, offsetBytes, sizeBytes: whole, type: null, name: null, partitionUuid: null },
    fileSystem: { type, label: null, uuid: null },
  };
}

/** Type and options for a mount of a file system of the stack. */
export function mountArguments({ fileSystem }: Partition): readonly [type: string, options: string] {
  return fileSystem?.type === 'squashfs' ? ['squashfs', 'ro,nodev'] : ['ext4', mountOptions.ext4 ?? ''];
}

/** The folder with the changes, in the scratch file system mounted at `mount`. */
export function upperFolder(mount: string): string {
  return `${mount}/upper`;
}

/** The folder in which scripts inside see the changes alone, read-only, as the scratch file system has them (assemble.sh). */
export const shownChanges = '/run/imagebuilder-changes';

/** Further attributes of an upper directory, which say something about the file systems it lay on. */
const bookkeeping = ['origin', 'impure', 'uuid', 'nlink', 'redirect', 'metacopy', 'protattr'];

/**
 * Arguments of GNU tar that write the changes to standard output, the scratch file system being mounted at `mount`.
 * SquashFS has no place for access control lists, which are left out.
 */
export function changesArguments(mount: string): readonly string[] {
  return [
    ...['--create', '--file=-', '--format=pax', '--sort=name', '--numeric-owner', '--blocking-factor=256'],
    ...['--xattrs', '--xattrs-include=*', '--xattrs-exclude=system.*', '--warning=no-file-ignored'],
    ...bookkeeping.map((name) => `--xattrs-exclude=trusted.overlay.${name}`),
    ...['-C', upperFolder(mount), '.'],
  ];
}
