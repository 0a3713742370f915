import { compareVersions } from '../../apt/version.ts';
import { type KernelModules, parseKernelModules } from '../../boot/drivers.ts';
import type { SquashfsLimits } from '../../squashfs/open.ts';
import type { LayerView } from '../../squashfs/thin/view.ts';
import { followToFile, haveSameContent, type ShownFile } from '../../squashfs/view-files.ts';
import type { SystemKernel } from './choose-kernel.ts';

/** The kernels in the file tree of a live system, which its layers show. */

/** Names of kernels, as Debian's packages and those of others give them. */
const kernelNames = ['vmlinuz', 'vmlinux', 'kernel'];
/** Those of Debian, Ubuntu and the kernel's own packages; the version becomes part of messages and names. */
const versionForm = /^\d[A-Za-z0-9.+~_-]{0,63}$/;
/** Leftovers of dpkg and of hands. */
const notKernel = /\.(?:dpkg-[a-z]+|old|bak|new)$/;
/** The largest kernels have some tens of MB, initial ramdisks with firmware some hundreds. */
export const maximumKernelBytes = 256 * 2 ** 20;
export const maximumInitrdBytes = 2 ** 30;
/** More than any system has. Of a system with more, the newest are looked at: each may have to be read. */
const mostKernels = 32;
/** A list of modules has some hundred KB. */
const maximumListBytes = 16 * 2 ** 20;

/** A kernel of the system with its files. */
export interface KernelFiles {
  readonly kernel: ShownFile;
  /** Null where it has none. */
  readonly initrd: ShownFile | null;
}

/** The kernels in /boot that have content and no more than kernels have, by their versions. */
export function kernelsIn(view: LayerView): Map<string, KernelFiles> {
  const found = new Map<string, KernelFiles>();
  const names = view.names('boot').flatMap((name) => {
    const dash = name.indexOf('-');
    const version = name.slice(dash + 1);
    const isKernel = dash > 0 && kernelNames.includes(name.slice(0, dash));
    return isKernel && versionForm.test(version) && !notKernel.test(version) ? [{ name, version }] : [];
  });
  const newest = names.sort((one, other) => compareVersions(other.version, one.version)).slice(0, mostKernels);
  for (const { name, version } of newest) {
    const kernel = followToFile(view, `boot/${name}`);
    if (kernel === null || kernel.inode.sizeBytes === 0 || kernel.inode.sizeBytes > maximumKernelBytes) continue;
    const initrd = [`initrd.img-${version}`, `initrd-${version}.img`, `initramfs-${version}.img`]
      .map((other) => followToFile(view, `boot/${other}`))
      .find((file) => file !== null && file.inode.sizeBytes > 0);
    found.set(version, { kernel, initrd: initrd ?? null });
  }
  return found;
}

/** The version of the kernel that the system calls its own, by the link that Debian's and Ubuntu's packages keep. */
export function linkedKernel(view: LayerView): string | null {
  for (const link of ['vmlinuz', 'boot/vmlinuz']) {
    const name = followToFile(view, link)?.path.split('/').at(-1);
    if (name?.includes('-')) return name.slice(name.indexOf('-') + 1);
  }
  return null;
}

/** The kernels of a system, and what a build has done to them. Throws as `haveSameContent` does. */
export async function compareKernels(
  before: ReadonlyMap<string, KernelFiles>,
  after: ReadonlyMap<string, KernelFiles>,
  limits: SquashfsLimits,
): Promise<SystemKernel[]> {
  const same = async (one: ShownFile | null, other: ShownFile | null | undefined) => {
    if (one === null || !other) return one === (other ?? null);
    return one.inode.sizeBytes <= maximumInitrdBytes && (await haveSameContent(one, other, limits));
  };
  const kernels: SystemKernel[] = [];
  for (const [version, { kernel, initrd }] of after) {
    const old = before.get(version);
    const isChanged = !(await same(kernel, old?.kernel)) || !(await same(initrd, old?.initrd));
    kernels.push({ version, isChanged, isNew: old === undefined });
  }
  return kernels;
}

/** The modules of a kernel; null where the system has no list of them. Throws as `Squashfs.read` does. */
export async function modulesOf(view: LayerView, version: string): Promise<KernelModules | null> {
  const texts: string[] = [];
  for (const name of ['modules.dep', 'modules.builtin']) {
    const file = followToFile(view, `lib/modules/${version}/${name}`);
    if (file === null) return null;
    texts.push((await file.layer.read(file.inode, maximumListBytes)).toString('utf8'));
  }
  const [dependencies = '', builtIn = ''] = texts;
  return parseKernelModules(dependencies, builtIn);
}
