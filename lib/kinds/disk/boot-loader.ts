import { join } from 'node:path';
import type { SealPart } from '../../guest/seal.ts';
import type { ImageInspection } from '../../image/inspection.ts';
import { readShellScripts } from '../../shell-scripts.ts';

/** The boot loader, GRUB: for kinds whose images are disks that boot. */

/**
 * Leaves GRUB's configuration naming the root file system as it always has. Fails where it names a device that exists
 * only during the build.
 */
export const bootLoaderSeal: SealPart = readShellScripts(join(import.meta.dirname, 'scripts'), ['snapshot', 'seal']);

/** Variables for update-grub in the scripts of packages. */
export function bootLoaderEnvironment({
  partitionTable,
}: Pick<ImageInspection, 'partitionTable'>): Record<string, string> {
  return {
    // update-grub cannot see the partition table from here, so this names the module that grub.cfg has to load for it.
    GRUB_PRELOAD_MODULES: partitionTable === 'mbr' ? 'part_msdos' : 'part_gpt',
    GRUB_DISABLE_OS_PROBER: 'true',
  };
}
