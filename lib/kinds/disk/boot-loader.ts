import { join } from 'node:path';
import type { SealPart } from '../../guest/seal.ts';
import type { ImageInspection } from '../../image/inspection.ts';
import { readShellScripts } from '../../shell-scripts.ts';

/** The boot loader, GRUB: for kinds whose images are disks that boot. */

const scripts = readShellScripts(join(import.meta.dirname, 'scripts'), ['borrow', 'snapshot', 'seal']);

/**
 * Programs in place of grub-install and others, in text for `loans`: the packages of boot loaders are installed as on a
 * machine, as far as that can be done without its disk.
 */
export const bootLoaderLoan = scripts.borrow;

/**
 * Leaves GRUB's configuration naming the root file system as it always has. Fails where it names a device that exists
 * only during the build. Warns of boot loaders that are older than their packages.
 */
export const bootLoaderSeal: SealPart = { snapshot: scripts.snapshot, seal: scripts.seal };

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
