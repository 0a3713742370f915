import { ImageBuilderError } from '../errors.ts';
import type { KernelFeature, Partition } from '../image/partition.ts';

/** The kernel that could not mount a file system. */
export interface MountingKernel {
  readonly guest: 'host' | 'vm';
  /** As `uname -r` says it, such as `6.1.0-28-cloud-amd64`. */
  readonly release: string;
}

/**
 * The error for a file system that a kernel does not mount: `image.unsupported` where it has features that the kernel
 * may lack, with the guest whose kernel may have them, else `image.corrupt`. The words of mount(8), which name paths of
 * the worker, are left to the cause.
 */
export function mountFailure(partition: Partition, kernel: MountingKernel, cause: unknown): ImageBuilderError {
  const { fileSystem, number } = partition;
  const what = `the ${fileSystem?.type} file system of ${number === 0 ? 'the whole disk' : `partition ${number}`}`;
  const missing = missingFeatures(partition, kernel);
  if (missing.length === 0) {
    return new ImageBuilderError('image.corrupt', `${what} cannot be mounted: it is damaged`, { cause });
  }
  const names = missing.map(({ name, since }) => (since === null ? name : `${name}, of Linux ${since}`)).join('; ');
  return new ImageBuilderError(
    'image.unsupported',
    `${what} cannot be mounted by ${kernelName(kernel)}, which may lack features that it has (${names}); ${advice(kernel)}`,
    { cause },
  );
}

/** The features of a partition's file system that the kernel may lack. */
export function missingFeatures({ fileSystem }: Partition, { release }: MountingKernel): readonly KernelFeature[] {
  return (fileSystem?.features ?? []).filter(({ since }) => since === null || isOlder(release, since));
}

/**
 * The reason why a partition beside the root stays closed, where `error` says that this kernel cannot open it. Throws all
 * other errors.
 */
export function closedBecause(error: unknown): string {
  if (error instanceof ImageBuilderError && error.code === 'image.unsupported') return error.message;
  throw error;
}

/** The reason why a partition stays closed, or is no root: no driver for its type. */
export function noDriver(partition: Partition, kernel: MountingKernel): string {
  const type = partition.fileSystem?.type;
  if (type === undefined) return 'it holds no file system that is known';
  return `${kernelName(kernel)} cannot open ${type}; ${advice(kernel)}`;
}

function kernelName({ guest, release }: MountingKernel): string {
  return guest === 'host' ? `this machine’s kernel (${release})` : `the kernel of the vm (${release})`;
}

function advice({ guest }: MountingKernel): string {
  return guest === 'host'
    ? 'the guest vm brings a kernel of its own'
    : 'the guest host opens it where the worker’s own kernel can, or IMAGEBUILDER_VM_KERNEL names a newer one';
}

function isOlder(release: string, than: string): boolean {
  const [major = 0, minor = 0] = release.split(/[.-]/).map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = than.split('.').map(Number);
  return major < wantedMajor || (major === wantedMajor && minor < wantedMinor);
}
