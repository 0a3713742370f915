import type { FleetBase } from '../../../lab/fleet/fleet.ts';
import { baseImageCache } from '../../../lab/images/cache.ts';
import { makeSmallImage } from '../../../lab/images/small-image.ts';

/** The small base image, for tests in which the number of builds matters more than their content. */
export async function smallImage(): Promise<FleetBase> {
  return await makeSmallImage(baseImageCache, (line) => process.stderr.write(`  ${line}\n`));
}
