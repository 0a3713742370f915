import type { GuestSession } from '../../guest/guest.ts';
import type { Apt, Installation } from '../apt.ts';
import type { InstallOptions } from '../install.ts';
import { planInstallation } from '../planned.ts';
import { type FetchedPackages, type FetchParts, fetchPackages } from './fetch.ts';
import { installDownloaded } from './install.ts';
import { type OpenWorkerAptOptions, type OutsideState, openWorkerApt } from './worker-apt.ts';

/** The opened image. */
type Inside = Pick<GuestSession, 'run' | 'network' | 'emulation'>;

/**
 * Apt for an image whose scripts have no network, or whose programs are emulated. The worker's own apt-get stands in for
 * the image's: it works with the image's `state`, and fetches through the same proxy. The downloaded packages are handed
 * in, and the image's apt installs them. Throws as `openWorkerApt` does.
 */
export async function openAptOutside(inside: Inside, state: OutsideState, options: OpenWorkerAptOptions): Promise<Apt> {
  const worker = await openWorkerApt(state, options);
  const { unprivilegedIds, signal } = options;
  return aptOutside({ inside, worker, state, unprivilegedIds, signal });
}

export interface OutsideParts extends Omit<FetchParts, 'isEmulated'> {
  readonly inside: Inside;
}

/** The same with the worker's apt of a `state` that is open already. */
export function aptOutside(parts: OutsideParts): Apt {
  const { worker, inside } = parts;
  const { updateLists, readRepositories } = worker;
  return {
    ...{ updateLists, readRepositories },
    planInstallation: (specifications, planOptions) => planInstallation(worker.runner, specifications, planOptions),
    async installPackages(specifications, options) {
      const isEmulated = inside.emulation !== undefined;
      const fetched = await fetchPackages({ ...parts, isEmulated }, specifications, options);
      return await installFetched(inside, fetched, options);
    },
    [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose](),
  };
}

/**
 * Installs packages that the worker's apt has fetched. Their download counts as the first half of the progress. Throws as
 * `installDownloaded` does.
 */
export async function installFetched(
  inside: Inside,
  { plan, handIn }: FetchedPackages,
  { onLog, onProgress }: Pick<InstallOptions, 'onLog' | 'onProgress'>,
): Promise<Installation> {
  const count = handIn.archives.length;
  const list = await installDownloaded(inside, handIn, {
    network: inside.network,
    onLog,
    onProgress: ({ current, message }) => onProgress({ current: count + current, total: 2 * count, message }),
  });
  return { plan, ...list };
}
