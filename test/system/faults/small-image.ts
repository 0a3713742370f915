import type { FleetBase } from '../../../lab/fleet/fleet.ts';
import { baseImageCache } from '../../../lab/images/cache.ts';
import { makeSmallImage } from '../../../lab/images/small-image.ts';

/** The small base image, for tests in which many builds matter more than what is built. */
export async function smallImage(): Promise<FleetBase> {
  return await makeSmallImage(baseImageCache, (line) => process.stderr.write(`  ${line}\n`));
}
