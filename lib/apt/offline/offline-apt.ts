import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError } from '../../errors.ts';
import { exec } from '../../exec.ts';
import type { GuestBind, GuestSession } from '../../guest/guest.ts';
import type { ImageFacts } from '../facts.ts';
import { type InstallOptions, installPackages } from '../install.ts';
import type { InstalledPackage } from '../packages.ts';
import type { InstallPlan } from '../resolve.ts';
import { type UpdateOptions, updateLists } from '../update.ts';
import { takeArchives } from './archives.ts';
import { architecturesOf, renderWorkerConfiguration } from './configuration.ts';
import { installOffline } from './install.ts';
import { readRecords } from './records.ts';
import { readOfflineSources } from './sources.ts';
import { type AptState, readAptState } from './state.ts';
import { type Keyrings, writeWorkerFiles } from './worker-files.ts';
import { createWorkerSession } from './worker-session.ts';

/**
 * apt for an image whose scripts have no network. The worker's own apt-get stands in for the image's: it works with the
 * image's state, sources, keys, pins and choices, fetches through the same proxy, and verifies with the image's
 * keyrings; what it downloads is handed in and installed by the image's apt. The same functions as for an image with a
 * network, with the same errors and progress. No privileges are needed.
 */
export interface OfflineApt extends AsyncDisposable {
  /** As `updateLists`. */
  updateLists(options: UpdateOptions): Promise<void>;
  /** As `installPackages`; once for an image, whose packages afterwards it tells too. */
  installPackages(specifications: readonly string[], options: InstallOptions): Promise<OfflineInstallation>;
}

export interface OfflineInstallation {
  readonly plan: InstallPlan;
  readonly packages: readonly InstalledPackage[];
}

export interface OfflineAptOptions {
  readonly facts: Pick<ImageFacts, 'aptVersion' | 'architecture' | 'foreignArchitectures'>;
  /** Folders of apt's lists and cache on the worker: the binds of `openAptCaches`. */
  readonly binds: readonly GuestBind[];
  /** A folder of this build alone. */
  readonly workDirectory: string;
  readonly signal: AbortSignal;
}

/**
 * Reads what the image's apt goes by. Call it after `addSources`. Throws `apt.repository` for sources that cannot be
 * used from outside the image, `image.too_large`, `guest.failed`, and `tool.failed` where the worker has no apt.
 */
export async function openOfflineApt(session: GuestSession, options: OfflineAptOptions): Promise<OfflineApt> {
  const { facts, binds, workDirectory, signal } = options;
  const lists = folderFor(binds, '/var/lib/apt/lists');
  const cache = folderFor(binds, '/var/cache/apt');
  const state = await readAptState(session, facts);
  const sources = readOfflineSources(state.sources);
  const keyrings = await readKeyrings(
    session,
    sources.flatMap((source) => source.signedBy?.paths ?? []),
  );
  const directory = await mkdtemp(join(workDirectory, 'offline-apt-'));
  try {
    await writeWorkerFiles(directory, { state, sources, keyrings, aptVersion: facts.aptVersion });
    const architectures = architecturesOf(state, facts.architecture, facts.foreignArchitectures);
    const configuration = join(directory, 'apt.conf');
    await writeFile(
      configuration,
      renderWorkerConfiguration({
        folders: {
          etc: join(directory, 'etc'),
          state: join(directory, 'state'),
          log: join(directory, 'log'),
          lists,
          cache,
        },
        architectures,
        imageAptVersion: facts.aptVersion,
        workerAptVersion: await readWorkerAptVersion(signal),
        state,
      }),
    );
    const worker = createWorkerSession({ directory, configuration, signal });
    return {
      updateLists: (updateOptions) => updateLists(worker, updateOptions),
      installPackages: (specifications, installOptions) =>
        install(
          { session, worker, directory, cache, state, architecture: facts.architecture, signal },
          specifications,
          installOptions,
        ),
      [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
    };
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

interface InstallParts {
  readonly session: GuestSession;
  readonly worker: GuestSession;
  readonly directory: string;
  readonly cache: string;
  readonly state: AptState;
  readonly architecture: string;
  readonly signal: AbortSignal;
}

async function install(
  parts: InstallParts,
  specifications: readonly string[],
  options: InstallOptions,
): Promise<OfflineInstallation> {
  const { session, worker, directory, cache, state, architecture, signal } = parts;
  await mkdir(join(cache, 'archives', 'partial'), { recursive: true });
  // The worker's apt "installs" with a dpkg that does nothing. What it downloads is the first half of the way.
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
  const archives = await takeArchives(join(cache, 'archives'), folder, { worker, architecture, signal });
  assertDownloaded(plan, archives.length);
  const extendedStates = await readFile(join(directory, 'state', 'extended_states'));
  const total = 2 * archives.length;
  const packages = await installOffline(
    session,
    {
      folder,
      archives,
      remove: plan.remove,
      architecture,
      extendedStates: extendedStates.equals(state.extendedStates) ? null : extendedStates,
    },
    {
      onLog: options.onLog,
      onProgress: ({ current, message }) => options.onProgress({ current: archives.length + current, total, message }),
    },
  );
  return { plan, packages };
}

/** apt's own words about a dpkg that has done nothing. */
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

async function readKeyrings(session: GuestSession, named: readonly string[]): Promise<Keyrings> {
  const paths = [...new Set(named)];
  if (paths.length === 0) return new Map();
  const records = await readRecords(session, 'keyrings', { files: { paths: `${paths.join('\n')}\n` } });
  return new Map(
    records.flatMap(({ kind, name, content }): [string, Buffer][] => {
      const path = kind === 'keyring' ? paths[Number(name)] : undefined;
      return path === undefined ? [] : [[path, content]];
    }),
  );
}

/** `apt 2.6.1 (amd64)`: the version of the worker's own apt. */
async function readWorkerAptVersion(signal: AbortSignal): Promise<string> {
  const { stdout } = await exec('apt-get', ['--version'], { signal });
  return /^apt (\S+)/.exec(stdout)?.[1] ?? '0';
}

function folderFor(binds: readonly GuestBind[], target: string): string {
  const found = binds.find((bind) => bind.target === target);
  if (found === undefined) throw new Error(`no folder was given for ${target}`);
  return found.source;
}
