import { ImageBuilderError } from '../errors.ts';
import type { Accelerator } from '../guest/vm/machine.ts';
import { bootTrial, describeWay } from '../guest/vm/trial.ts';
import type { WaysToBoot } from '../kinds/kind.ts';
import { plain } from '../text.ts';
import type { BootFindings } from './check-boot.ts';
import type { BuildTools, LimitedContext } from './context.ts';

export interface TrialPlace {
  /** How the vm guest runs; null for the host guest, with which no machine has been tried. */
  readonly accelerator: Accelerator | null;
  /** The build's folder, in which no guest is open any more. */
  readonly workDirectory: string;
}

/**
 * Boots the packed image, without changing it, in every way for which it has a boot loader. Throws `image.unbootable`
 * where its system does not come up, or comes up with another kernel than its menu names.
 */
export async function tryBoot(
  path: string,
  { kernel, firmwares, waysToBoot }: BootFindings & { readonly waysToBoot: WaysToBoot },
  place: TrialPlace,
  { settings }: BuildTools,
  { reporter, signal }: LimitedContext,
): Promise<void> {
  const ways = await waysToBoot(path, { firmwares, signal });
  if (ways.length === 0) {
    throw new ImageBuilderError('image.unbootable', 'the image has no boot loader with which it could be booted');
  }
  const accelerator = place.accelerator ?? 'tcg';
  const { unprivilegedIds } = settings;
  for (const way of ways) {
    const how = describeWay(way);
    reporter.notice(`booting the new image ${how}${accelerator === 'tcg' ? ', emulated' : ''}`);
    const { workDirectory } = place;
    const booted = await bootTrial({ path, way, accelerator, workDirectory, unprivilegedIds, signal });
    if (booted.until === 'enough') {
      reporter.log(`boot check: ${how} the boot loader has loaded the kernel and the initial ramdisk`);
      continue;
    }
    if (booted.kernel === null) {
      reporter.log(`boot check: ${how} the system is up; it does not say which kernel it has`);
      continue;
    }
    const came = plain(booted.kernel);
    if (kernel !== null && came !== kernel) {
      const message = `${how} the image boots the kernel ${came}, where its menu names ${plain(kernel)}`;
      throw new ImageBuilderError('image.unbootable', message);
    }
    reporter.log(`boot check: ${how} the system is up, with the kernel ${came}`);
  }
}
