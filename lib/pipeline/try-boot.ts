import { ImageBuilderError } from '../errors.ts';
import type { Accelerator } from '../guest/vm/machine.ts';
import { bootTrial, firmwareNames } from '../guest/vm/trial.ts';
import { inspectImage } from '../image/inspect.ts';
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
 * Boots the packed image from a throw-away overlay by every firmware for which it has a boot loader. Throws
 * `image.unbootable` where its system does not come up, or comes up with another kernel than its menu names.
 */
export async function tryBoot(
  path: string,
  { kernel, firmwares }: BootFindings,
  place: TrialPlace,
  { settings }: BuildTools,
  { reporter, signal }: LimitedContext,
): Promise<void> {
  if (firmwares.length === 0) {
    throw new ImageBuilderError('image.unbootable', 'the image has no boot loader with which it could be booted');
  }
  const accelerator = place.accelerator ?? 'tcg';
  const { maximumVirtualBytes, unprivilegedIds } = settings;
  const inspection = await inspectImage(path, { maximumVirtualBytes, signal });
  for (const firmware of firmwares) {
    const name = firmwareNames[firmware];
    reporter.notice(`booting the new image by ${name}${accelerator === 'tcg' ? ', emulated' : ''}`);
    const { workDirectory } = place;
    const booted = await bootTrial({
      ...{ path, inspection, firmware, accelerator, workDirectory, unprivilegedIds, signal },
    });
    if (booted.kernel === null) {
      reporter.log(`boot check: by ${name} the system is up; it does not say which kernel it has`);
      continue;
    }
    const came = plain(booted.kernel);
    if (kernel !== null && came !== kernel) {
      const message = `by ${name} the image boots the kernel ${came}, where its menu names ${plain(kernel)}`;
      throw new ImageBuilderError('image.unbootable', message);
    }
    reporter.log(`boot check: by ${name} the system is up, with the kernel ${came}`);
  }
}
