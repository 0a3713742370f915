import type { ImageInspection } from '../image/inspection.ts';
import type { Partition } from '../image/partition.ts';
import { type Bundle, openBundle } from './bundle.ts';
import type { DiskLoaders } from './disk-loaders.ts';
import { type KernelModules, parseKernelModules } from './drivers.ts';
import { type GrubImage, parseGrubImage } from './grub-image.ts';
import { type Initrd, type InitrdOptions, readInitrd } from './initrd.ts';
import { type BootTree, parseBootMounts, parseTree } from './tree.ts';

/** All that the boot check looks at in one state of an image. */
export interface BootView {
  readonly tree: BootTree;
  readonly partitions: readonly Partition[];
  readonly partitionTable: ImageInspection['partitionTable'];
  /** Versions of the kernels in /boot, the newest last. */
  readonly kernels: readonly string[];
  /** Paths of the kernels that Debian packages have put into /boot. */
  readonly packaged: readonly string[];
  /** True where the image has a program that makes initial ramdisks. */
  readonly makesInitrds: boolean;
  /** Texts of configuration files, by path. */
  readonly texts: ReadonlyMap<string, string>;
  /** Programs of boot loaders on the EFI system partition, by path. */
  readonly efiLoaders: ReadonlyMap<string, EfiLoader>;
  readonly onDisk: DiskLoaders;
  /** Initial ramdisks that were handed out, by path. */
  readonly initrds: ReadonlyMap<string, Initrd>;
  readonly modules: ReadonlyMap<string, KernelModules>;
  /** The first bytes of kernels, by path. */
  readonly heads: ReadonlyMap<string, Buffer>;
  /** Names of files that were not handed out, being too large or too many. */
  readonly left: readonly string[];
}

export interface EfiLoader {
  /** Null for one that is not GRUB. */
  readonly grub: GrubImage | null;
  /** True for the loader that starts GRUB where Secure Boot is on. */
  readonly isShim: boolean;
}

/** The parts of a disk that no guest can change. */
export interface BootDisk extends Pick<ImageInspection, 'partitions' | 'partitionTable'> {
  readLoaders(): Promise<DiskLoaders>;
}

export interface ViewOptions extends InitrdOptions {
  readonly disk: BootDisk;
}

/** Reads the bundle that probe.sh has written to `path`. */
export async function readBootView(path: string, options: ViewOptions): Promise<BootView> {
  const { disk } = options;
  await using bundle = await openBundle(path);
  const text = async (name: string) => (await bundle.read(name))?.toString('utf8') ?? '';
  const mounts = parseBootMounts(await text('mounts'), disk.partitions);
  const tree = parseTree(await text('tree'), mounts);
  const kernels = kernelsIn(tree);
  const view = {
    tree,
    ...{ partitions: disk.partitions, partitionTable: disk.partitionTable, kernels },
    onDisk: await disk.readLoaders(),
    packaged: (await text('kernels')).split('\n').filter((line) => line !== ''),
    makesInitrds: bundle.names.some((name) => name.startsWith('maker:')),
    texts: new Map<string, string>(),
    efiLoaders: new Map<string, EfiLoader>(),
    initrds: new Map<string, Initrd>(),
    modules: new Map<string, KernelModules>(),
    heads: new Map<string, Buffer>(),
    left: bundle.names.filter((name) => /^(?:large|left):/.test(name)).map((name) => name.slice(name.indexOf(':') + 1)),
  };
  for (const name of bundle.names) await readFile(bundle, name, view, options);
  for (const version of kernels) {
    const [dep, builtIn] = [await moduleList(bundle, version, 'dep'), await moduleList(bundle, version, 'builtin')];
    if (dep !== null && builtIn !== null) view.modules.set(version, parseKernelModules(dep, builtIn));
  }
  return view;
}

interface Filling {
  readonly texts: Map<string, string>;
  readonly efiLoaders: Map<string, EfiLoader>;
  readonly initrds: Map<string, Initrd>;
  readonly heads: Map<string, Buffer>;
}

async function readFile(bundle: Bundle, name: string, view: Filling, options: ViewOptions): Promise<void> {
  options.signal.throwIfAborted();
  const range = bundle.range(name);
  if (range === null) return;
  if (name.startsWith('head:')) {
    view.heads.set(name.slice('head:'.length), (await bundle.read(name)) ?? Buffer.alloc(0));
  } else if (/^\/.*\.efi$/i.test(name)) {
    view.efiLoaders.set(name, readEfiLoader((await bundle.read(name)) ?? Buffer.alloc(0)));
  } else if (/\/(?:initrd|initramfs)[^/]*$/.test(name)) {
    view.initrds.set(name, await readInitrd(bundle.file, range, options));
  } else if (/^\/(?:boot|efi)\//.test(name)) {
    view.texts.set(name, (await bundle.read(name))?.toString('utf8') ?? '');
  }
}

function readEfiLoader(program: Buffer): EfiLoader {
  const isShim = program.includes('shim,') && program.includes('SBAT');
  return { grub: isShim ? null : parseGrubImage(program, 64), isShim };
}

async function moduleList(bundle: Bundle, version: string, what: 'dep' | 'builtin'): Promise<string | null> {
  return (await bundle.read(`/lib/modules/${version}/modules.${what}`))?.toString('utf8') ?? null;
}

/** Versions of the kernels that update-grub would find in /boot (GRUB's util/grub.d/10_linux.in), the newest last. */
function kernelsIn(tree: BootTree): string[] {
  const versions = tree
    .namesIn('/boot')
    .flatMap((name) => /^(?:vmlinuz|vmlinux|kernel)-(.+)$/.exec(name)?.[1] ?? [])
    .filter((version) => !/\.(?:dpkg-[a-z]+|old|bak|rpm(?:save|new|orig)|hmac|sig)$/.test(version));
  return [...new Set(versions)].sort(inOrderOfVersions);
}

/** `6.1.0-9` comes before `6.1.0-28`. */
function inOrderOfVersions(one: string, other: string): number {
  return one.localeCompare(other, 'en', { numeric: true });
}
