import { lackingAnywhere } from './drivers.ts';
import type { BootFault } from './fault.ts';
import { hasContent } from './tree.ts';
import type { BootView } from './view.ts';

/** Faults of the kernels in /boot and of their initial ramdisks. */
export function kernelFaults(view: BootView): BootFault[] {
  const { tree, kernels, packaged } = view;
  const faults: BootFault[] = [];
  for (const path of packaged) {
    if (hasContent(tree.find(path))) continue;
    faults.push({
      id: `no-file:${path}`,
      message: `${path}, the kernel of an installed package, is not there or is empty`,
    });
  }
  for (const version of kernels) {
    const path = kernelPath(view, version);
    const cut = isCut(view, path);
    if (cut) faults.push({ id: `kernel-cut:${path}`, message: `the kernel ${path} is shorter than it says` });
    faults.push(...initrdFaults(view, version));
  }
  for (const [path, { damage }] of view.initrds) {
    if (damage !== null && !isLeftOver(view, path)) {
      faults.push({ id: `initrd-damage:${path}`, message: `the initial ramdisk ${path} is not whole: ${damage}` });
    }
  }
  return faults;
}

/** True for the initial ramdisk of a version whose kernel is gone, which no entry of a menu should name. */
function isLeftOver({ kernels }: BootView, path: string): boolean {
  const version = /^\/boot\/init(?:rd|ramfs)[^-]*-(.+)$/.exec(path)?.[1];
  return version !== undefined && !kernels.some((each) => version === each || version === `${each}.img`);
}

function initrdFaults(view: BootView, version: string): BootFault[] {
  const modules = view.modules.get(version);
  const fileSystem = view.tree.mounts.find(({ target }) => target === '/')?.partition.fileSystem?.type ?? null;
  const [path] = initrdPaths(view, version);
  if (path === undefined) {
    if (!view.makesInitrds) return [];
    return [{ id: 'no-initrd', message: `the kernel ${version} has no initial ramdisk in /boot` }];
  }
  const initrd = view.initrds.get(path);
  if (initrd === undefined || initrd.damage !== null || initrd.unknown !== null || modules === undefined) return [];
  const lacking = lackingAnywhere(modules, initrd.modules, fileSystem);
  if (lacking.length === 0) return [];
  const message = `neither the kernel ${version} nor its initial ramdisk has ${lacking.join(' and ')}, so it cannot open its root file system`;
  return [{ id: `no-driver:${lacking.join()}`, message }];
}

/** The initial ramdisks of a kernel, by the names that Debian, Fedora, Arch and others give them. */
export function initrdPaths({ tree }: Pick<BootView, 'tree'>, version: string): string[] {
  const names = [`initrd.img-${version}`, `initrd-${version}`, `initrd-${version}.img`, `initramfs-${version}.img`];
  return [...names, `initramfs-${version}`]
    .map((name) => `/boot/${name}`)
    .filter((path) => hasContent(tree.find(path)));
}

function kernelPath({ tree }: BootView, version: string): string {
  const paths = ['vmlinuz', 'vmlinux', 'kernel'].map((name) => `/boot/${name}-${version}`);
  return paths.find((path) => typeof tree.find(path) === 'object') ?? paths[0] ?? '';
}

/** True for a file that is shorter than its own header says (the kernel's Documentation/arch/x86/boot.rst). */
function isCut({ tree, heads }: BootView, path: string): boolean {
  const head = heads.get(path);
  const found = tree.find(path);
  if (typeof found !== 'object' || found.entry.type !== 'f') return false;
  if (found.entry.sizeBytes === 0) return true;
  if (head === undefined || head.length < 0x210 || head.toString('latin1', 0x202, 0x206) !== 'HdrS') return false;
  const setupSectors = head.readUInt8(0x1f1) || 4;
  return (setupSectors + 1) * 512 + head.readUInt32LE(0x1f4) * 16 > found.entry.sizeBytes;
}
