import { makeSmallImage } from '../../images/small-image.ts';
import { baseImageCache } from '../service.ts';
import type { FleetBase } from './fleet.ts';

/** The small base image, for tests in which many builds matter more than what is built. */
export async function smallImage(): Promise<FleetBase> {
  return await makeSmallImage(baseImageCache, (line) => process.stderr.write(`  ${line}\n`));
}
