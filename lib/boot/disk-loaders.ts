import type { Disk } from '../image/disk.ts';
import { isEsp, type Partition } from '../image/partition.ts';
import { coreSector, type GrubImage, maximumCoreBytes, parseCoreImage } from './grub-image.ts';

/**
 * The boot loaders that a disk shows outside of files. No guest can reach the boot sector, the gap behind it or a BIOS
 * boot partition: a build leaves the base image's as they are.
 */
export interface DiskLoaders {
  /** GRUB's core image for BIOS; null where there is none that is known. */
  readonly bios: GrubImage | null;
  /** True for a boot sector with any code. */
  readonly hasBootCode: boolean;
  /** True where the EFI system partition seems to hold the program that every firmware starts. */
  readonly hasEfiProgram: boolean;
}

/** The folders of an EFI system partition are among its first files. */
const searchedBytes = 4 * 2 ** 20;
/** As FAT writes EFI/BOOT/BOOTX64.EFI in its folder. */
const efiProgram = 'BOOTX64 EFI';

export async function readDiskLoaders(disk: Disk, partitions: readonly Partition[]): Promise<DiskLoaders> {
  const esp = partitions.find(isEsp);
  const start =
    esp === undefined ? null : await readPart(disk, esp.offsetBytes, Math.min(esp.sizeBytes, searchedBytes));
  const sector = await readPart(disk, 0, 512);
  const core = coreSector(sector);
  return {
    bios: core === null ? null : parseCoreImage(await readPart(disk, core * 512, maximumCoreBytes)),
    hasBootCode:
      sector.length === 512 &&
      sector.readUInt16LE(510) === 0xaa55 &&
      sector.subarray(0, 440).some((byte) => byte !== 0),
    hasEfiProgram: start?.includes(efiProgram) ?? false,
  };
}

async function readPart(disk: Disk, offset: number, length: number): Promise<Buffer> {
  return await disk.read(Math.min(offset, disk.sizeBytes), Math.max(0, Math.min(length, disk.sizeBytes - offset)));
}
