import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { runsOn, workerArchitecture } from '../../architecture.ts';
import { ImageBuilderError } from '../../errors.ts';
import { exec } from '../../exec.ts';
import type { GuestBind, GuestSession, ScriptRunner } from '../../guest/guest.ts';
import type { IdRange, UnprivilegedUser } from '../../privileges.ts';
import { readForeignFile } from '../../unprivileged.ts';
import { openWorkerPlace, type WorkerPlace } from '../../worker-place.ts';
import type { Apt, Installation } from '../apt.ts';
import type { ImageFacts } from '../facts.ts';
import { type InstallOptions, installPackages } from '../install.ts';
import type { InstallPlan } from '../plan.ts';
import { planInstallation } from '../planned.ts';
import { readReleaseFiles } from '../repositories/read-lists.ts';
import { updateLists } from '../update.ts';
import { describeArchives, takeArchives } from './archives.ts';
import { architecturesOf, renderWorkerConfiguration } from './configuration.ts';
import { installDownloaded } from './install.ts';
import { mirrorListPath } from './mirrors.ts';
import { makePlain } from './plain-archive.ts';
import { readFiles } from './records.ts';
import { readOutsideSources } from './sources.ts';
import { type AptState, readAptState } from './state.ts';
import { writeWorkerFiles } from './worker-files.ts';
import { createWorkerRunner } from './worker-runner.ts';

export interface AptOutsideOptions {
  readonly facts: Pick<ImageFacts, 'aptVersion' | 'architecture' | 'foreignArchitectures'>;
  /** Folders of apt's lists and cache on the worker: the binds of `openAptCaches`. */
  readonly binds: readonly GuestBind[];
  /** The folder of this build alone that these lie in. */
  readonly workDirectory: string;
  /** The user ids for apt where this process is root. */
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/** The opened image. */
type Inside = Pick<GuestSession, 'run' | 'network'>;

/**
 * Apt for an image whose scripts have no network, or whose programs are emulated. The worker's own apt-get stands in for the image's: it works with the
 * image's state, sources, keys, pins and choices, fetches through the same proxy, and verifies with the image's
 * keyrings. The downloaded packages are handed in, and the image's apt installs them. No privileges are needed.
 *
 * Reads the state that the image's apt works with. Call it after `addSources`. Throws `apt.repository` for sources that
 * cannot be used from outside the image, `image.too_large`, `guest.failed`, and `tool.failed` where the worker has no
 * apt.
 */
export async function openAptOutside(inside: Inside, options: AptOutsideOptions): Promise<Apt> {
  const { facts, binds, workDirectory, signal } = options;
  const lists = folderFor(binds, '/var/lib/apt/lists');
  const cache = folderFor(binds, '/var/cache/apt');
  const archives = join(cache, 'archives');
  const state = await readAptState(inside, facts);
  const warnings: string[] = [];
  const sources = readOutsideSources(state.sources, (message) => warnings.push(message));
  const files = await readFiles(
    inside,
    sources.flatMap(({ signedBy, uris }) => [
      ...(signedBy?.paths ?? []),
      ...uris.flatMap((uri) => mirrorListPath(uri) ?? []),
    ]),
  );
  await using opened = new AsyncDisposableStack();
  const directory = await mkdtemp(join(workDirectory, 'apt-outside-'));
  opened.defer(() => rm(directory, { recursive: true, force: true }));
  const place = opened.use(await openWorkerPlace(workDirectory, options.unprivilegedIds));
  const { user } = place;
  const below = (name: string) => join(directory, name);
  const names = await writeWorkerFiles(directory, { state, sources, files, aptVersion: facts.aptVersion });
  await mkdir(join(archives, 'partial'), { recursive: true });
  const configuration = below('etc/apt.conf');
  await writeFile(
    configuration,
    renderWorkerConfiguration({
      folders: {
        etc: below('etc'),
        state: below('state'),
        log: below('log'),
        lists,
        cache,
      },
      architectures: architecturesOf(state, facts.architecture, facts.foreignArchitectures),
      imageAptVersion: facts.aptVersion,
      workerAptVersion: await readWorkerAptVersion(user, signal),
      state,
    }),
  );
  // The folders above these stay the worker's, so that apt's user cannot replace one of these by a link.
  for (const path of [...['etc', 'state', 'log', 'tmp'].map(below), lists, archives]) await place.give(path);
  if (user !== null)
    for (const path of new Set([directory, cache, dirname(cache), dirname(lists)])) await chmod(path, 0o711);
  const worker = createWorkerRunner({ place, directory, configuration, names, signal });
  const { architecture } = facts;
  const { unprivilegedIds } = options;
  const parts = { inside, worker, place, directory, archives, state, architecture, unprivilegedIds, signal };
  const kept = opened.move();
  return {
    async updateLists(updateOptions) {
      for (const warning of warnings) updateOptions.onWarning(warning);
      await updateLists(worker, updateOptions);
    },
    readRepositories: async () => ({
      ...{ sources: state.sources, trusted: state.trusted, keyrings: files },
      releases: await readReleaseFiles(lists),
      mirrors: new Map([...names].map(([copy, path]) => [path, copy])),
    }),
    planInstallation: (specifications, planOptions) => planInstallation(worker, specifications, planOptions),
    installPackages: (specifications, installOptions) => install(parts, specifications, installOptions),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

interface InstallParts {
  readonly inside: Inside;
  readonly worker: ScriptRunner;
  readonly place: WorkerPlace;
  readonly directory: string;
  /** apt's Dir::Cache::archives. */
  readonly archives: string;
  readonly state: AptState;
  readonly architecture: string;
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
  const { inside, worker, place, directory, state, architecture, unprivilegedIds, signal } = parts;
  // The worker's apt "installs" with a dpkg that does nothing. Its download counts as the first half of the progress.
  const plan = await installPackages(worker, specifications, {
    ...options,
    onLog: (line) => {
      if (!isAboutDpkg(line)) options.onLog(line);
    },
    onProgress: (progress) => {
      if (2 * progress.current <= progress.total) options.onProgress(progress);
    },
  });
  const folder = join(directory, 'packages');
  const described = await describeArchives(parts.archives, { worker, architecture });
  assertDownloaded(plan, described.length);
  // The checked files must stay as they are.
  await place.end();
  const isEmulated = !runsOn(workerArchitecture, architecture);
  const plainly = async (path: string) => await makePlain(path, { ...plainBytes, unprivilegedIds, signal });
  const archives = await takeArchives(described, parts.archives, folder, signal, isEmulated ? plainly : null);
  const extendedStates = await readForeignFile(join(directory, 'state', 'extended_states'), maximumStatesBytes);
  const total = 2 * archives.length;
  const list = await installDownloaded(
    inside,
    {
      folder,
      archives,
      remove: plan.remove,
      architecture,
      configuration: state.configuration,
      extendedStates: extendedStates.equals(state.extendedStates) ? null : extendedStates,
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

/** `apt 2.6.1 (amd64)`: the version of the worker's own apt. */
async function readWorkerAptVersion(user: UnprivilegedUser | null, signal: AbortSignal): Promise<string> {
  const { stdout } = await exec('apt-get', ['--version'], { user, signal });
  return /^apt (\S+)/.exec(stdout)?.[1] ?? '0';
}

function folderFor(binds: readonly GuestBind[], target: string): string {
  const found = binds.find((bind) => bind.target === target);
  if (found === undefined) throw new Error(`no folder was given for ${target}`);
  return found.source;
}
