import { open } from 'node:fs/promises';
import { readDiskLoaders } from '../../boot/disk-loaders.ts';
import type { TrialFollower, TrialWay } from '../../guest/vm/trial.ts';
import type { Firmware, TrialDrive } from '../../guest/vm/trial-machine.ts';
import { rawDisk } from '../../image/disk.ts';
import { type IsoInspectOptions, inspectIso } from '../../iso9660/inspect.ts';
import { type BootFiles, type BootProgress, followBoot } from '../../medium/boot-progress.ts';
import { readMenuKernels } from './boot-menus.ts';

/**
 * The ways in which machines boot a medium: by each firmware from a CD, where El Torito names a boot loader for it, and
 * from a disk, where the boot sector or an EFI system partition has one. With the same firmware they differ up to the kernel
 * only, so the system is awaited once for each: from the CD where there is one. Throws as `inspectIso` does.
 */
export async function mediumWays(path: string, options: IsoInspectOptions): Promise<TrialWay[]> {
  await using handle = await open(path, 'r');
  const medium = await inspectIso(handle, options);
  const { fileSizeBytes, boot } = medium;
  const partitions = boot.gpt !== null && boot.gpt.length > 0 ? boot.gpt : (boot.mbr ?? []);
  const loaders = await readDiskLoaders(
    rawDisk(handle, fileSizeBytes),
    partitions.map((entry) => ({ ...entry, fileSystem: null })),
  );
  const onDisk: Readonly<Record<Firmware, boolean>> = { bios: loaders.hasBootCode, uefi: loaders.hasEfiProgram };
  const menus = await readMenuKernels(handle, medium.files);
  const known: BootFiles = {
    kernels: new Set(menus.map(({ kernel }) => kernel)),
    initrds: new Set(menus.flatMap(({ initrds }) => initrds)),
  };
  return (['bios', 'uefi'] as const).flatMap((firmware) => {
    const onCd = boot.entries.some(({ platform, bootable }) => bootable && platform === firmware);
    const drives: TrialDrive[] = [...(onCd ? ['cd' as const] : []), ...(onDisk[firmware] ? ['disk' as const] : [])];
    return drives.map((drive, index) => ({
      ...{ firmware, drive, image: { format: 'raw', virtualSizeBytes: fileSizeBytes, qcow2: null } },
      follow: () => follower(followBoot(medium.files, known), index === 0),
    }));
  });
}

function follower(progress: BootProgress, awaitsSystem: boolean): TrialFollower {
  return {
    onRead: progress.onRead,
    describe: progress.describe,
    get isBeforeKernel() {
      return progress.stage === 'begun';
    },
    get isEnough() {
      return !awaitsSystem && (progress.stage === 'loaded' || progress.stage === 'opened');
    },
    get hasSystem() {
      return progress.stage === 'opened';
    },
  };
}
