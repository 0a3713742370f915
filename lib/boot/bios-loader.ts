import type { Disk } from '../image/disk.ts';
import { coreSector, type GrubImage, maximumCoreBytes, parseCoreImage } from './grub-image.ts';

/**
 * GRUB's core image for BIOS on a disk; null where there is none that is known. No guest can reach the boot sector, the
 * gap behind it or a BIOS boot partition: a build leaves the base image's as it is.
 */
export async function readBiosLoader(disk: Disk): Promise<GrubImage | null> {
  if (disk.sizeBytes < 512) return null;
  const sector = coreSector(await disk.read(0, 512));
  if (sector === null || sector * 512 >= disk.sizeBytes) return null;
  const length = Math.min(maximumCoreBytes, disk.sizeBytes - sector * 512);
  return parseCoreImage(await disk.read(sector * 512, length));
}
