import { access, constants, readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { workerArchitecture } from '../../architecture.ts';
import { ImageBuilderError, isNodeError } from '../../errors.ts';
import type { FileSystemType, Partition } from '../../image/partition.ts';

/** The kernel of the vm: a packaged kernel of a distribution, taken from its files, not the running one. */
export interface GuestKernel {
  readonly imagePath: string;
  /** As in `/lib/modules/<release>`. */
  readonly release: string;
  readonly modules: KernelModules;
}

export interface KernelModules {
  readonly directory: string;
  /** By name, with `_` for `-`: path below the directory and paths of the modules it needs, nearest first. */
  readonly loadable: ReadonlyMap<string, { readonly path: string; readonly needs: readonly string[] }>;
  readonly builtIn: ReadonlySet<string>;
}

/** Packages by architecture. */
export const kernelPackages: Readonly<Record<string, string>> = {
  amd64: 'linux-image-cloud-amd64',
  arm64: 'linux-image-cloud-arm64',
};

/**
 * The kernel at `path`, or where that is empty the newest in /boot whose modules are there. Throws `guest.unavailable`
 * with the package to install.
 */
export async function findKernel(path: string, root = '/'): Promise<GuestKernel> {
  const paths = path === '' ? await kernelsIn(join(root, 'boot')) : [path];
  const faults: string[] = [];
  for (const imagePath of paths) {
    const release = basename(imagePath).replace(/^[^-]*-/, '');
    const directory = join(root, 'lib/modules', release);
    try {
      const modules = await readModules(directory);
      await access(imagePath, constants.R_OK);
      return { imagePath, release, modules };
    } catch (error) {
      if (!isNodeError(error)) throw error;
      faults.push(
        error.code === 'EACCES'
          ? `${error.path ?? imagePath} is not readable for this user: chmod a+r`
          : `${error.path ?? imagePath} is not there`,
      );
    }
  }
  const install = `apt-get install ${kernelPackages[workerArchitecture] ?? 'linux-image-generic'}`;
  const why = faults.length === 0 ? 'there is none in /boot' : faults.join('; ');
  throw new ImageBuilderError('guest.unavailable', `the vm has no kernel to run (${why}): ${install}`);
}

/** Newest release first. */
async function kernelsIn(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (isNodeError(error) && error.code === 'ENOENT') return [];
    throw error;
  });
  return names
    .filter((name) => /^vmlinu[xz]-/.test(name))
    .sort((one, other) => other.localeCompare(one, 'en', { numeric: true }))
    .map((name) => join(directory, name));
}

async function readModules(directory: string): Promise<KernelModules> {
  // One after the other: where both are missing, the first is named each time.
  const dependencies = await readFile(join(directory, 'modules.dep'), 'utf8');
  const builtIn = await readFile(join(directory, 'modules.builtin'), 'utf8');
  const loadable = new Map<string, { path: string; needs: string[] }>();
  for (const line of dependencies.split('\n')) {
    const [path = '', needs = ''] = line.split(':');
    if (path !== '') loadable.set(moduleName(path), { path, needs: needs.split(' ').filter((need) => need !== '') });
  }
  const names = builtIn.split('\n').filter((line) => line !== '');
  return { directory, loadable, builtIn: new Set(names.map(moduleName)) };
}

/** `virtio_rng` for kernel/drivers/char/hw_random/virtio-rng.ko.xz. */
export function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.[a-z0-9]+)?$/, '')
    .replaceAll('-', '_');
}

/**
 * Paths of the modules `names` and of all modules that they need, in loading order. Built-in ones need no file; those
 * in `optional` may be missing altogether. Throws `guest.unavailable` for others.
 */
export function modulesToLoad(
  { modules, release }: GuestKernel,
  names: readonly string[],
  optional: readonly string[],
): string[] {
  const paths = new Set<string>();
  const add = (path: string) => {
    if (paths.has(path)) return;
    const needs = modules.loadable.get(moduleName(path))?.needs ?? [];
    for (const need of needs.toReversed()) add(need);
    paths.add(path);
  };
  for (const name of [...names, ...optional]) {
    const found = modules.loadable.get(name);
    if (found !== undefined) add(found.path);
    else if (!modules.builtIn.has(name) && !optional.includes(name)) {
      throw new ImageBuilderError('guest.unavailable', `the kernel ${release} for the vm has no ${name}`);
    }
  }
  return [...paths];
}

interface FileSystemModules {
  readonly names: readonly string[];
  /** Modules that the kernel asks for by itself where no module depends on them: character sets and checksums. */
  readonly optional: readonly string[];
}

const checksums = ['crc32c_generic', 'crc32c_cryptoapi'];

/** The modules that each file system needs; other file systems are not opened. */
export const fileSystemModules: Partial<Record<FileSystemType, FileSystemModules>> = {
  ext2: { names: ['ext4'], optional: checksums },
  ext3: { names: ['ext4'], optional: checksums },
  ext4: { names: ['ext4'], optional: checksums },
  xfs: { names: ['xfs'], optional: checksums },
  btrfs: {
    names: ['btrfs'],
    optional: [...checksums, 'xxhash_generic', 'sha256_generic', 'libsha256', 'blake2b_generic'],
  },
  vfat: { names: ['vfat'], optional: ['nls_cp437', 'nls_ascii', 'nls_iso8859_1', 'nls_utf8'] },
};

/** Modules that the kernel asks for by itself where a file system has a feature (`KernelFeature`). */
const modulesOfFeatures: Readonly<Record<string, readonly string[]>> = {
  quota: ['quota_v2'],
  project: ['quota_v2'],
  casefold: ['utf8data', 'unicode'],
  verity: ['sha256_generic', 'libsha256'],
};

/** The modules, where the kernel has them as such, for the features of these partitions. */
export function featureModules(partitions: readonly Partition[]): string[] {
  const features = partitions.flatMap(({ fileSystem }) => fileSystem?.features ?? []);
  return features.flatMap(({ name }) => modulesOfFeatures[name] ?? []);
}

/** Whether the kernel can open a file system. */
export function canOpen({ modules }: GuestKernel, type: FileSystemType): boolean {
  const wanted = fileSystemModules[type]?.names;
  return wanted?.every((name) => modules.builtIn.has(name) || modules.loadable.has(name)) ?? false;
}
