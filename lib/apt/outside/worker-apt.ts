import { chmod, lstat, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ImageBuilderError } from '../../errors.ts';
import { exec } from '../../exec.ts';
import type { GuestBind, ScriptRunner } from '../../guest/guest.ts';
import type { IdRange, UnprivilegedUser } from '../../privileges.ts';
import { openWorkerPlace, type WorkerPlace } from '../../worker-place.ts';
import { indexFolder } from '../caches.ts';
import type { ImageFacts } from '../facts.ts';
import { ignoreMissing } from '../list-files.ts';
import { readReleaseFiles } from '../repositories/read-lists.ts';
import type { RepositoryFiles } from '../repositories/repository.ts';
import { type UpdateOptions, updateLists } from '../update.ts';
import { architecturesOf, renderWorkerConfiguration } from './configuration.ts';
import { mirrorListPath } from './mirrors.ts';
import { type NamedFiles, readFiles } from './records.ts';
import { type OutsideSource, readOutsideSources } from './sources.ts';
import { type AptState, readAptState } from './state.ts';
import { writeWorkerFiles } from './worker-files.ts';
import { createWorkerRunner } from './worker-runner.ts';

/** All of an image that the worker's own apt needs to stand in for the image's. */
export interface OutsideState {
  readonly facts: Pick<ImageFacts, 'aptVersion' | 'architecture' | 'foreignArchitectures'>;
  readonly apt: AptState;
  /** Files that sources name: keyrings, lists of mirrors. */
  readonly files: NamedFiles;
}

/**
 * Reads the state of an opened image. Call it after `addSources` and `prepareApt`. Throws `apt.repository` for sources
 * that cannot be used from outside the image, `image.too_large` and `guest.failed`.
 */
export async function readOutsideState(inside: ScriptRunner, facts: OutsideState['facts']): Promise<OutsideState> {
  const apt = await readAptState(inside, facts);
  const { aptVersion, architecture, foreignArchitectures } = facts;
  const files = await readFiles(inside, filesOf(readOutsideSources(apt.sources)));
  return { facts: { aptVersion, architecture, foreignArchitectures }, apt, files };
}

function filesOf(sources: readonly OutsideSource[]): string[] {
  return sources.flatMap(({ signedBy, uris }) => [
    ...(signedBy?.paths ?? []),
    ...uris.flatMap((uri) => mirrorListPath(uri) ?? []),
  ]);
}

export interface OpenWorkerAptOptions {
  /** Folders of apt's lists and cache on the worker: the binds of `openAptCaches`. */
  readonly binds: readonly GuestBind[];
  /** The folder of this build alone that these lie in. */
  readonly workDirectory: string;
  /** The user ids for apt where this process is root. */
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/** The worker's own apt with the state of an image. */
export interface WorkerApt extends AsyncDisposable {
  /** Runs our scripts with this apt. */
  readonly runner: ScriptRunner;
  readonly place: WorkerPlace;
  /** The folder of its files; apt's state is below `state`. */
  readonly directory: string;
  /** Dir::Cache::archives of apt. */
  readonly archives: string;
  /** Brings the package lists up to date, and throws as the function `updateLists` does. */
  updateLists(options: UpdateOptions): Promise<void>;
  readRepositories(): Promise<RepositoryFiles>;
}

/**
 * Starts the worker's own apt-get in place of an image's, which need not be open. It works with the image's state,
 * sources, keys, pins and choices, and verifies with the image's keyrings. No privileges are needed. Throws
 * `tool.failed` where the worker has no apt.
 */
export async function openWorkerApt(
  { facts, apt: state, files }: OutsideState,
  { binds, workDirectory, unprivilegedIds, signal }: OpenWorkerAptOptions,
): Promise<WorkerApt> {
  const lists = folderFor(binds, '/var/lib/apt/lists');
  const cache = folderFor(binds, '/var/cache/apt');
  const archives = join(cache, 'archives');
  const warnings: string[] = [];
  const sources = readOutsideSources(state.sources, (message) => warnings.push(message));
  await using opened = new AsyncDisposableStack();
  const directory = await mkdtemp(join(workDirectory, 'apt-outside-'));
  opened.defer(() => rm(directory, { recursive: true, force: true }));
  const place = opened.use(await openWorkerPlace(workDirectory, unprivilegedIds));
  const { user } = place;
  const below = (name: string) => join(directory, name);
  const { names, mirrors } = await writeWorkerFiles(directory, { state, sources, files, aptVersion: facts.aptVersion });
  const index = join(cache, indexFolder);
  await assertFolders(archives, index);
  await mkdir(join(archives, 'partial'), { recursive: true });
  await mkdir(index, { recursive: true });
  await symlink(lists, below('lists'));
  const configuration = below('etc/apt.conf');
  await writeFile(
    configuration,
    renderWorkerConfiguration({
      folders: { etc: below('etc'), state: below('state'), log: below('log'), cache },
      architectures: architecturesOf(state, facts.architecture, facts.foreignArchitectures),
      imageAptVersion: facts.aptVersion,
      workerAptVersion: await readWorkerAptVersion(user, signal),
      state,
    }),
  );
  // The folders above these stay the worker's, so that apt's user cannot replace one of these by a link.
  for (const path of [...['etc', 'state', 'log', 'tmp'].map(below), lists, archives, index]) await place.give(path);
  if (user !== null)
    for (const path of new Set([directory, cache, dirname(cache), dirname(lists)])) await chmod(path, 0o711);
  const runner = createWorkerRunner({ place, directory, configuration, names, signal });
  const kept = opened.move();
  return {
    ...{ runner, place, directory, archives },
    async updateLists(options) {
      for (const warning of warnings) options.onWarning(warning);
      await updateLists(runner, options);
    },
    readRepositories: async () => ({
      ...{ sources: state.sources, trusted: state.trusted, keyrings: files },
      releases: await readReleaseFiles(lists),
      mirrors,
    }),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** `apt 2.6.1 (amd64)`: the version of the worker's own apt. */
async function readWorkerAptVersion(user: UnprivilegedUser | null, signal: AbortSignal): Promise<string> {
  const { stdout } = await exec('apt-get', ['--version'], { user, signal });
  return /^apt (\S+)/.exec(stdout)?.[1] ?? '0';
}

/** Throws `image.unsupported` where the root of an image that is open has put anything else in the place of a folder. */
async function assertFolders(...paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    const found = await lstat(path).catch(ignoreMissing);
    if (found === undefined || found.isDirectory()) continue;
    throw new ImageBuilderError('image.unsupported', 'the image has put something else in the place of folders of apt');
  }
}

/** The folder of the worker that is bound to a folder of the image. */
export function folderFor(binds: readonly GuestBind[], target: string): string {
  const found = binds.find((bind) => bind.target === target);
  if (found === undefined) throw new Error(`no folder was given for ${target}`);
  return found.source;
}
