import { join } from 'node:path';
import { runsOn, workerArchitecture } from '../../architecture.ts';
import { ImageBuilderError } from '../../errors.ts';
import type { GuestSession } from '../../guest/guest.ts';
import type { IdRange } from '../../privileges.ts';
import { readForeignFile } from '../../unprivileged.ts';
import type { Apt, Installation } from '../apt.ts';
import { type InstallOptions, installPackages } from '../install.ts';
import type { InstallPlan } from '../plan.ts';
import { planInstallation } from '../planned.ts';
import { describeArchives, takeArchives } from './archives.ts';
import { installDownloaded } from './install.ts';
import { makePlain } from './plain-archive.ts';
import { type OpenWorkerAptOptions, type OutsideState, openWorkerApt, type WorkerApt } from './worker-apt.ts';

/** The opened image. */
type Inside = Pick<GuestSession, 'run' | 'network'>;

/**
 * Apt for an image whose scripts have no network, or whose programs are emulated. The worker's own apt-get stands in for
 * the image's: it works with the image's `state`, and fetches through the same proxy. The downloaded packages are handed
 * in, and the image's apt installs them. Throws as `openWorkerApt` does.
 */
export async function openAptOutside(inside: Inside, state: OutsideState, options: OpenWorkerAptOptions): Promise<Apt> {
  const worker = await openWorkerApt(state, options);
  const { updateLists, readRepositories } = worker;
  const { unprivilegedIds, signal } = options;
  const parts = { inside, worker, state, unprivilegedIds, signal };
  return {
    ...{ updateLists, readRepositories },
    planInstallation: (specifications, planOptions) => planInstallation(worker.runner, specifications, planOptions),
    installPackages: (specifications, installOptions) => install(parts, specifications, installOptions),
    [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose](),
  };
}

interface InstallParts {
  readonly inside: Inside;
  readonly worker: WorkerApt;
  readonly state: OutsideState;
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/** Smaller packages, and larger ones, stay compressed. */
const plainBytes = { leastBytes: 2 ** 19, maximumBytes: 2 ** 31 };

async function install(
  parts: InstallParts,
  specifications: readonly string[],
  options: InstallOptions,
): Promise<Installation> {
  const { inside, worker, state, unprivilegedIds, signal } = parts;
  const { runner, place, directory } = worker;
  const { architecture } = state.facts;
  // The worker's apt "installs" with a dpkg that does nothing. Its download counts as the first half of the progress.
  const plan = await installPackages(runner, specifications, {
    ...options,
    onLog: (line) => {
      if (!isAboutDpkg(line)) options.onLog(line);
    },
    onProgress: (progress) => {
      if (2 * progress.current <= progress.total) options.onProgress(progress);
    },
  });
  const folder = join(directory, 'packages');
  const described = await describeArchives(worker.archives, { worker: runner, architecture });
  assertDownloaded(plan, described.length);
  // The checked files must stay as they are.
  await place.end();
  const isEmulated = !runsOn(workerArchitecture, architecture);
  const plainly = async (path: string) => await makePlain(path, { ...plainBytes, unprivilegedIds, signal });
  const archives = await takeArchives(described, worker.archives, folder, signal, isEmulated ? plainly : null);
  const extendedStates = await readForeignFile(join(directory, 'state', 'extended_states'), maximumStatesBytes);
  const isUntouched = archives.length === 0 && plan.remove.length === 0;
  const total = 2 * archives.length;
  const list = await installDownloaded(
    inside,
    {
      folder,
      archives,
      remove: plan.remove,
      architecture,
      configuration: state.apt.configuration,
      extendedStates: isUntouched && extendedStates.equals(state.apt.extendedStates) ? null : extendedStates,
    },
    {
      network: inside.network,
      onLog: options.onLog,
      onProgress: ({ current, message }) => options.onProgress({ current: archives.length + current, total, message }),
    },
  );
  return { plan, ...list };
}

/** Some 100 bytes for each package. */
const maximumStatesBytes = 64 * 1024 * 1024;

/** apt's own words about the dpkg that does nothing. */
function isAboutDpkg(line: string): boolean {
  return /^W: APT had planned for dpkg to do more|^ {3}Affected packages:/.test(line);
}

function assertDownloaded(plan: InstallPlan, count: number): void {
  if (plan.install.length === count) return;
  throw new ImageBuilderError(
    'tool.failed',
    `apt planned to install ${plan.install.length} packages, but has downloaded ${count}`,
  );
}
