import { join } from 'node:path';
import { ImageBuilderError } from '../../errors.ts';
import type { GuestSession } from '../../guest/guest.ts';
import type { IdRange } from '../../privileges.ts';
import { readForeignFile } from '../../unprivileged.ts';
import type { Apt, Installation } from '../apt.ts';
import type { ArchiveName } from '../archive-name.ts';
import { type InstallOptions, installPackages } from '../install.ts';
import type { InstallPlan } from '../plan.ts';
import { planInstallation } from '../planned.ts';
import type { ResolvedPlan } from '../resolve.ts';
import { describeArchives, takeArchives } from './archives.ts';
import { installDownloaded } from './install.ts';
import { plainMaker } from './plain-archive.ts';
import { runOutsideScript } from './script.ts';
import { type OpenWorkerAptOptions, type OutsideState, openWorkerApt, type WorkerApt } from './worker-apt.ts';

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

/** The same with the worker's apt of a `state` that is open already. */
export function aptOutside(parts: OutsideParts): Apt {
  const { worker } = parts;
  const { updateLists, readRepositories } = worker;
  return {
    ...{ updateLists, readRepositories },
    planInstallation: (specifications, planOptions) => planInstallation(worker.runner, specifications, planOptions),
    installPackages: (specifications, installOptions) => install(parts, specifications, installOptions),
    [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose](),
  };
}

export interface OutsideParts {
  readonly inside: Inside;
  readonly worker: WorkerApt;
  readonly state: OutsideState;
  /** The plan of the installation, where it was made with the same lists. */
  readonly plan?: ResolvedPlan | undefined;
  /** The packages of the plan that the opened image has already, though its `state` does not say so. Default: none. */
  readonly present?: readonly PresentPackage[];
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/** A package that an image has already. */
export interface PresentPackage extends ArchiveName {
  /** Its file in apt's Dir::Cache::archives, and the size of that. */
  readonly file: string;
  readonly sizeBytes: number;
}

/** Smaller packages stay compressed, and so do those for which all of them together would take more than the room. */
const plain = { leastBytes: 2 ** 16, roomBytes: 2 ** 30 };

async function install(
  parts: OutsideParts,
  specifications: readonly string[],
  options: InstallOptions,
): Promise<Installation> {
  const { inside, worker, state, present = [], unprivilegedIds, signal } = parts;
  const { runner, place, directory } = worker;
  const { architecture } = state.facts;
  // apt fetches no file that is there with the size that the lists say, and nothing reads these.
  await standIn('make', present, worker);
  // The worker's apt "installs" with a dpkg that does nothing. Its download counts as the first half of the progress.
  const plan = await installPackages(runner, specifications, {
    ...options,
    resolved: parts.plan,
    onLog: (line) => {
      if (!isAboutDpkg(line)) options.onLog(line);
    },
    onProgress: (progress) => {
      if (2 * progress.current <= progress.total) options.onProgress(progress);
    },
  });
  assertPlanned(present, parts.plan ?? plan, plan);
  await standIn('remove', present, worker);
  const folder = join(directory, 'packages');
  const described = await describeArchives(worker.archives, { worker: runner, architecture });
  assertDownloaded(plan, described.length + present.length);
  // The checked files must stay as they are.
  await place.end();
  const plainly = inside.emulation === undefined ? undefined : plainMaker({ ...plain, unprivilegedIds, signal });
  const archives = await takeArchives(described, worker.archives, folder, signal, plainly);
  const extendedStates = await readForeignFile(join(directory, 'state', 'extended_states'), maximumStatesBytes);
  const isUntouched = archives.length + present.length === 0 && plan.remove.length === 0;
  const isChanged = !extendedStates.equals(state.apt.extendedStates);
  const total = 2 * archives.length;
  const list = await installDownloaded(
    inside,
    {
      folder,
      ...{ archives, present, remove: plan.remove },
      architecture,
      configuration: state.apt.configuration,
      extendedStates: isUntouched && !isChanged ? null : extendedStates,
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

/** Makes or removes files in the place of the packages that the image has already. */
async function standIn(
  what: 'make' | 'remove',
  present: readonly PresentPackage[],
  { runner, archives }: WorkerApt,
): Promise<void> {
  if (present.length === 0) return;
  const files = present.map(({ file, sizeBytes }) => `${sizeBytes} ${file}\n`).join('');
  await runOutsideScript(runner, 'stand-ins', { arguments: [what, archives], files: { files }, timeoutMs: 120_000 });
}

/** A repository that was out of step may have other packages in its new lists than those that the image has. */
function assertPlanned(
  present: readonly PresentPackage[],
  { downloads: before }: Pick<ResolvedPlan, 'downloads'>,
  { downloads: now }: Pick<ResolvedPlan, 'downloads'>,
): void {
  if (now === before) return;
  const nameOf = ({ name, version, architecture }: ArchiveName) => `${name} ${version} ${architecture}`;
  const digests = new Map(now.map((download) => [nameOf(download), JSON.stringify(download.digest)]));
  const wanted = new Map(before.map((download) => [nameOf(download), JSON.stringify(download.digest)]));
  const old = present.find((entry) => digests.get(nameOf(entry)) !== wanted.get(nameOf(entry)));
  if (old === undefined) return;
  throw new ImageBuilderError(
    'upstream.status',
    `the repositories have changed during the build: ${old.name} ${old.version} would no longer be installed`,
  );
}

function assertDownloaded(plan: InstallPlan, count: number): void {
  if (plan.install.length === count) return;
  throw new ImageBuilderError(
    'tool.failed',
    `apt planned to install ${plan.install.length} packages, but has downloaded ${count}`,
  );
}
