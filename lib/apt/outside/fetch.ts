import { join } from 'node:path';
import { ImageBuilderError } from '../../errors.ts';
import type { IdRange } from '../../privileges.ts';
import { readForeignFile } from '../../unprivileged.ts';
import type { ArchiveName } from '../archive-name.ts';
import { type InstallOptions, installPackages } from '../install.ts';
import type { InstallPlan } from '../plan.ts';
import type { ResolvedPlan } from '../resolve.ts';
import { describeArchives, takeArchives } from './archives.ts';
import type { HandIn } from './install.ts';
import { plainMaker } from './plain-archive.ts';
import { runOutsideScript } from './script.ts';
import type { OutsideState, WorkerApt } from './worker-apt.ts';

export interface FetchParts {
  readonly worker: WorkerApt;
  readonly state: OutsideState;
  /** The plan of the installation, where it was made with the same lists. */
  readonly plan?: ResolvedPlan | undefined;
  /** The packages of the plan that the image has already, though its `state` does not say so. Default: none. */
  readonly present?: readonly PresentPackage[];
  /** Whether programs of the image are emulated: then most packages are decompressed here. */
  readonly isEmulated: boolean;
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/** A package that an image has already. */
export interface PresentPackage extends ArchiveName {
  /** Its file in apt's Dir::Cache::archives, and the size of that. */
  readonly file: string;
  readonly sizeBytes: number;
}

/** Packages that were resolved, downloaded and verified without the image, and wait for it. */
export interface FetchedPackages {
  readonly plan: ResolvedPlan;
  readonly handIn: HandIn;
}

/** Smaller packages stay compressed, and so do those for which all of them together would take more than the room. */
const plain = { leastBytes: 2 ** 16, roomBytes: 2 ** 30 };

/**
 * Fetches everything of an installation with the worker's own apt; the image need not be open. Once for a `worker`, whose
 * processes end with it. Throws as `installPackages` does, where that has changed nothing yet.
 */
export async function fetchPackages(
  parts: FetchParts,
  specifications: readonly string[],
  options: InstallOptions,
): Promise<FetchedPackages> {
  const { worker, state, present = [], isEmulated, unprivilegedIds, signal } = parts;
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
  const plainly = isEmulated ? plainMaker({ ...plain, unprivilegedIds, signal }) : undefined;
  const archives = await takeArchives(described, worker.archives, folder, signal, plainly);
  const extendedStates = await readForeignFile(join(directory, 'state', 'extended_states'), maximumStatesBytes);
  const isUntouched = archives.length + present.length === 0 && plan.remove.length === 0;
  const isChanged = !extendedStates.equals(state.apt.extendedStates);
  const { configuration } = state.apt;
  return {
    plan,
    handIn: {
      ...{ folder, archives, present, remove: plan.remove, architecture, configuration },
      extendedStates: isUntouched && !isChanged ? null : extendedStates,
    },
  };
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
