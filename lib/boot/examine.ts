import { isEsp } from '../image/partition.ts';
import { lackingUsual, lostDrivers } from './drivers.ts';
import type { BootFault } from './fault.ts';
import { initrdPaths, kernelFaults } from './kernels.ts';
import { loaderFaults } from './loaders.ts';
import { menuFaults } from './menus.ts';
import type { BootView } from './view.ts';

/** The findings about one state of an image. */
export interface Examination {
  readonly faults: readonly BootFault[];
  /** True where only a look at the base image shows whether drivers have been lost. */
  readonly isDoubtful: boolean;
  /** Parts that were not checked, in words. */
  readonly unchecked: readonly string[];
  /** True for an image that has neither a kernel nor a boot loader. */
  readonly isBare: boolean;
  /** Version of the kernel that starts by itself; null where that is not known. */
  readonly kernel: string | null;
  /** The firmwares for which the image has a boot loader. */
  readonly firmwares: readonly ('bios' | 'uefi')[];
}

/** Looks for everything that could keep an image from booting, whoever has caused it. */
export function examineBoot(view: BootView): Examination {
  const menus = menuFaults(view);
  const loaders = loaderFaults(view);
  const hasLoader = menus.paths.length > 0 || view.efiLoaders.size > 0 || view.onDisk.bios !== null;
  const unchecked = [
    ...menus.unchecked,
    ...(hasLoader ? [] : ['the image has no boot loader that is known here']),
    ...view.left.map((name) => `${name} is too large, or there are too many of its kind`),
    ...[...view.initrds].flatMap(([path, { unknown }]) => (unknown === null ? [] : [`${path}: ${unknown}`])),
  ];
  return {
    faults: [...kernelFaults(view), ...menus.faults, ...loaders],
    isDoubtful: lookedInto(view).some(([, { modules, initrd }]) => lackingUsual(modules, initrd).length > 0),
    unchecked,
    isBare: !hasLoader && view.kernels.length === 0,
    kernel: /\/(?:vmlinuz|vmlinux|kernel)-([^/]+)$/.exec(menus.kernel ?? '')?.[1] ?? null,
    firmwares: firmwaresOf(view),
  };
}

/** A new machine's firmware for UEFI knows one program. */
function firmwaresOf({ tree, onDisk }: BootView): ('bios' | 'uefi')[] {
  const esp = tree.mounts.find(({ partition }) => isEsp(partition));
  const folders =
    esp === undefined
      ? []
      : ['EFI', 'efi'].flatMap((name) => [`${esp.target}/${name}/BOOT`, `${esp.target}/${name}/boot`]);
  const names = folders.flatMap((folder) => tree.namesIn(folder)).map((name) => name.toLowerCase());
  const hasEfi = esp === undefined ? onDisk.hasEfiProgram : names.includes('bootx64.efi');
  return [...(onDisk.hasBootCode ? ['bios' as const] : []), ...(hasEfi ? ['uefi' as const] : [])];
}

export interface Comparison {
  /** Faults that the base image did not have. */
  readonly added: readonly BootFault[];
  /** Faults that it had as well. */
  readonly inherited: readonly BootFault[];
}

/** Parts the faults of an image by whether its base had them; drivers that the base had, and this has not, are faults. */
export function compareBoot(view: BootView, base: BootView): Comparison {
  const before = examineBoot(base);
  const { faults } = examineBoot(view);
  // It never booted by itself.
  if (before.isBare) return { added: [], inherited: faults };
  const known = new Set(before.faults.map(({ id }) => id));
  return {
    added: [...faults.filter(({ id }) => !known.has(id)), ...lostFaults(view, base)],
    inherited: faults.filter(({ id }) => known.has(id)),
  };
}

function lostFaults(view: BootView, base: BootView): BootFault[] {
  const had = new Set<string>();
  for (const [, { modules, initrd }] of lookedInto(base)) {
    for (const names of [modules.builtIn, initrd]) for (const name of names) had.add(name);
  }
  return lookedInto(view).flatMap(([version, { modules, initrd }]) => {
    const lost = lostDrivers(modules, initrd, had);
    if (lost.length === 0) return [];
    const message = `the initial ramdisk of the kernel ${version} has lost drivers that the base image's had: ${lost.join(', ')}`;
    return [{ id: `lost:${version}`, message }];
  });
}

/** Kernels whose initial ramdisk was read to its end, with what they can load. */
function lookedInto(view: BootView) {
  return view.kernels.flatMap((version) => {
    const modules = view.modules.get(version);
    const [path = ''] = initrdPaths(view, version);
    const initrd = view.initrds.get(path);
    if (modules === undefined || initrd === undefined || initrd.damage !== null || initrd.unknown !== null) return [];
    return [[version, { modules, initrd: initrd.modules }] as const];
  });
}
