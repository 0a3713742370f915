import { type AptCaches, openAptCaches } from '../apt/caches.ts';
import type { PpaSource } from '../apt/launchpad.ts';
import { addFiles } from '../apt/outside/add-files.ts';
import { type OutsideState, openWorkerApt, type WorkerApt } from '../apt/outside/worker-apt.ts';
import type { RepositoryFiles } from '../apt/repositories/repository.ts';
import { type ResolvedPlan, resolvePackages } from '../apt/resolve.ts';
import { sourceFiles } from '../apt/sources.ts';
import type { AptProgress } from '../apt/update.ts';
import { type AptProxy, startAptProxy } from '../fetch/apt-proxy.ts';
import type { Attempt } from './attempt.ts';
import type { BuildTools, LimitedContext } from './context.ts';
import type { BuildInputs } from './fetch-inputs.ts';
import type { KnownBase } from './layer-store.ts';
import { digestReleases } from './made-of.ts';
import { listsShare } from './open-image.ts';
import { openWorkDirectory } from './work-directory.ts';

/** An installation, and the state of the image's apt before it. */
export interface PlannedRequest {
  /** The state of the image, with the PPAs. */
  readonly state: OutsideState;
  readonly baseSha256: string;
  readonly buildId: string;
  readonly wanted: readonly string[];
  readonly sources: readonly PpaSource[];
  readonly allowDowngrades: boolean;
}

/** The worker's own apt at work for an image that need not be open. Disposing it ends that apt. */
export interface AptOnWorker extends AsyncDisposable {
  readonly asked: PlannedRequest;
  readonly apt: WorkerApt;
  readonly proxy: AptProxy;
  readonly caches: AptCaches;
  /** The folder of its files, which is none of the build's. */
  readonly workDirectory: string;
  /** Aborted with that of the build, and by `stop`. */
  readonly signal: AbortSignal;
  /** Ends all work of this apt, which then throws. */
  stop(): void;
}

/** Package lists that were fetched and verified for this build, as if it had opened the image. */
export interface UpdatedLists {
  readonly repositories: RepositoryFiles;
  /** SHA-256 of each Release file and each signature of one, sorted. */
  readonly releases: readonly string[];
  /** News for the result. */
  readonly warnings: readonly string[];
}

/** An installation that the worker's own apt has planned. */
export interface WorkerPlan {
  readonly worker: AptOnWorker;
  readonly updated: UpdatedLists;
  readonly plan: ResolvedPlan;
}

/** The installation of a build on a base image that is known; null where its PPAs cannot be added without the image. */
export function plannedRequest(
  known: KnownBase,
  { build: { buildId, request } }: Pick<Attempt, 'build'>,
  { sources }: Pick<BuildInputs, 'sources'>,
): PlannedRequest | null {
  const state = addFiles(known.state, sourceFiles(known.facts, sources, request.base_image.series));
  if (state === null) return null;
  const { package_list: wanted, allow_downgrades: allowDowngrades } = request;
  return { state, baseSha256: known.baseSha256, buildId, wanted, sources, allowDowngrades };
}

/** Whether the packages of each of its builds are fetched by the worker's apt: scripts of a vm have no network. */
export function isFetchedOutside({ chosen }: Pick<Attempt, 'chosen'>, { vmNetwork }: BuildTools['settings']): boolean {
  return chosen.guest.kind === 'vm' && !vmNetwork;
}

/** Starts the worker's apt with the state of an image's. Throws as `openWorkerApt` does. */
export async function openAptOnWorker(
  asked: PlannedRequest,
  { client, aptCache, settings }: BuildTools,
  context: LimitedContext,
): Promise<AptOnWorker> {
  const { cacheDirectory, aptCacheBytes, unprivilegedIds } = settings;
  const { state, baseSha256, buildId } = asked;
  const stopped = new AbortController();
  const signal = AbortSignal.any([context.signal, stopped.signal]);
  await using opened = new AsyncDisposableStack();
  // One of its own: the user that apt runs as gets into it, and the users of other tools into the build's.
  const { path: workDirectory } = opened.use(await openWorkDirectory(settings.workDirectory, buildId));
  context.space.include(workDirectory);
  const proxy = opened.use(await startAptProxy({ client, cache: aptCache, signal }));
  const cache = { cacheDirectory, cacheBytes: aptCacheBytes * listsShare, baseImageSha256: baseSha256 };
  const caches = opened.use(await openAptCaches({ ...cache, workDirectory, signal }));
  const apt = opened.use(await openWorkerApt(state, { binds: caches.binds, workDirectory, unprivilegedIds, signal }));
  const kept = opened.move();
  return {
    ...{ asked, apt, proxy, caches, workDirectory, signal },
    stop: () => stopped.abort(new Error('its packages are no longer wanted')),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Brings the lists up to date, and keeps them for later builds. Throws as the function `updateLists` does. */
export async function updateOnWorker(
  { asked, apt, proxy, caches, signal }: AptOnWorker,
  context: Pick<LimitedContext, 'reporter' | 'log'>,
  onProgress: (progress: AptProgress) => void,
): Promise<UpdatedLists> {
  const warnings: string[] = [];
  await apt.updateLists({
    index: await caches.takeIndex('outside', asked.sources),
    ...{ sources: asked.sources, proxyUrl: proxy.url, proxyFailures: () => proxy.failures, signal },
    onLog: (line) => context.reporter.log(line),
    onWarning: (message) => warnings.push(message),
    onProgress,
  });
  await keepLists(caches, asked.sources, context);
  const repositories = await apt.readRepositories();
  return { repositories, releases: digestReleases(repositories.releases), warnings };
}

/** Keeps updated lists for later builds. Never fails a build: where they are not kept, the next one fetches them again. */
export async function keepLists(
  caches: AptCaches,
  sources: readonly PpaSource[],
  { log }: Pick<LimitedContext, 'log'>,
): Promise<void> {
  await caches.publish(sources).catch((error: unknown) => {
    log.warn('package lists not cached', { error });
  });
}

/** Updates the lists, and plans the installation. Throws as `updateOnWorker` and `resolvePackages` do. */
export async function planOnWorker(
  worker: AptOnWorker,
  { settings }: Pick<BuildTools, 'settings'>,
  context: Pick<LimitedContext, 'reporter' | 'log'>,
): Promise<WorkerPlan> {
  const { asked, apt, proxy } = worker;
  const { wanted, allowDowngrades } = asked;
  const updated = await updateOnWorker(worker, context, ({ current, total, message }) =>
    context.reporter.progress(current, total, message),
  );
  const options = { recommends: settings.installRecommends, allowDowngrades, proxyUrl: proxy.url };
  const nothing = { install: [], remove: [], downloads: [], instead: new Map<string, string>() };
  const plan = wanted.length === 0 ? nothing : await resolvePackages(apt.runner, wanted, options);
  return { worker, updated, plan };
}
