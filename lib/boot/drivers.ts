import { moduleOf } from './initrd.ts';

/** The drivers by which a kernel finds its root file system. */

/** Those that Debian's and Ubuntu's initial ramdisks have unless they are made for one machine (MODULES=most). */
const usual = [
  ...['virtio_pci', 'virtio_blk', 'virtio_scsi', 'virtio_mmio', 'sd_mod', 'nvme', 'ahci', 'ata_piix', 'xen_blkfront'],
  ...['hv_vmbus', 'hv_storvsc', 'vmw_pvscsi', 'mptspi'],
];
/** Those of other machines, and of what lies between a disk and its file systems. */
const further = [
  ...['mptsas', 'mpt3sas', 'megaraid_sas', 'mmc_block', 'usb_storage', 'uas', 'xen_scsifront'],
  ...['dm_mod', 'dm_crypt', 'md_mod', 'raid0', 'raid1', 'raid10', 'raid456', 'bcache', 'virtio_iommu'],
];
/** One of these is enough for some machine. */
const disks = [
  ...['virtio_blk', 'virtio_scsi', 'nvme', 'ahci', 'ata_piix', 'xen_blkfront', 'hv_storvsc', 'vmw_pvscsi', 'mptspi'],
  ...['mptsas', 'mpt3sas', 'megaraid_sas', 'mmc_block', 'usb_storage', 'uas', 'xen_scsifront', 'sd_mod'],
];

/** The modules that a kernel can have at boot. */
export interface KernelModules {
  readonly builtIn: ReadonlySet<string>;
  /** All modules of the kernel, those in it as well. */
  readonly known: ReadonlySet<string>;
}

/** `dep` is the text of modules.dep, `builtIn` that of modules.builtin (modules.dep(5)). */
export function parseKernelModules(dep: string, builtIn: string): KernelModules {
  const inKernel = new Set(builtIn.split('\n').flatMap((line) => moduleOf(line) ?? []));
  const known = new Set(inKernel);
  for (const line of dep.split('\n')) {
    const colon = line.indexOf(':');
    const module = colon < 0 ? null : moduleOf(line.slice(0, colon));
    if (module !== null) known.add(module);
  }
  return { builtIn: inKernel, known };
}

/** The modules of file systems, by their types; ext4's driver reads ext2 and ext3 as well. */
const fileSystems: Readonly<Record<string, string>> = {
  ...{ ext2: 'ext4', ext3: 'ext4', ext4: 'ext4', xfs: 'xfs', btrfs: 'btrfs', f2fs: 'f2fs' },
};

/**
 * Drivers that a kernel could have, and without which it cannot start anywhere: that of its root file system, and any
 * for disks. Empty for a kernel that is not known well enough.
 */
export function lackingAnywhere(
  { builtIn, known }: KernelModules,
  initrd: ReadonlySet<string>,
  fileSystem: string | null,
): string[] {
  const has = (name: string) => builtIn.has(name) || initrd.has(name);
  const root = fileSystem === null ? undefined : fileSystems[fileSystem];
  const lacking = root !== undefined && known.has(root) && !has(root) ? [root] : [];
  const isKnown = disks.some((name) => known.has(name));
  return isKnown && !disks.some(has) ? [...lacking, 'any driver for disks'] : lacking;
}

/** Drivers that a kernel could have and, for some machines, should. */
export function lackingUsual({ builtIn, known }: KernelModules, initrd: ReadonlySet<string>): string[] {
  return usual.filter((name) => known.has(name) && !builtIn.has(name) && !initrd.has(name));
}

/** Drivers that the kernel could have, does not have, and that were there before. */
export function lostDrivers(
  { builtIn, known }: KernelModules,
  initrd: ReadonlySet<string>,
  before: ReadonlySet<string>,
): string[] {
  return [...usual, ...further, 'ext4', 'xfs', 'btrfs', 'f2fs'].filter(
    (name) => known.has(name) && before.has(name) && !builtIn.has(name) && !initrd.has(name),
  );
}

/** Those by which a live system opens its medium and the layers on it. */
const live = ['squashfs', 'overlay', 'loop', 'isofs', 'sr_mod', 'vfat'];

/** As `lostDrivers`, with those that only a live system needs. */
export function lostLiveDrivers(
  modules: KernelModules,
  initrd: ReadonlySet<string>,
  before: ReadonlySet<string>,
): string[] {
  const { builtIn, known } = modules;
  const lost = live.filter((name) => known.has(name) && before.has(name) && !builtIn.has(name) && !initrd.has(name));
  return [...lost, ...lostDrivers(modules, initrd, before)];
}
