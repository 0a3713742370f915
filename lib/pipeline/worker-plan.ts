import { type AptCaches, openAptCaches } from '../apt/caches.ts';
import type { PpaSource } from '../apt/launchpad.ts';
import { type OutsideState, openWorkerApt, type WorkerApt } from '../apt/outside/worker-apt.ts';
import { type ResolvedPlan, resolvePackages } from '../apt/resolve.ts';
import { type AptProxy, startAptProxy } from '../fetch/apt-proxy.ts';
import type { BuildTools, LimitedContext } from './context.ts';
import { digestReleases } from './made-of.ts';
import { listsShare } from './open-image.ts';
import { openWorkDirectory } from './work-directory.ts';

/** An installation that the worker's own apt has planned without the image. Disposing it ends that apt. */
export interface WorkerPlan extends AsyncDisposable {
  readonly state: OutsideState;
  readonly apt: WorkerApt;
  readonly plan: ResolvedPlan;
  /** SHA-256 of each Release file and each signature of one, sorted. */
  readonly releases: readonly string[];
  /** News for the result. */
  readonly warnings: readonly string[];
  readonly proxy: AptProxy;
  readonly caches: AptCaches;
  /** The folder of its files, which is none of the build's. */
  readonly workDirectory: string;
}

export interface PlannedRequest {
  /** The state of the image, with the PPAs. */
  readonly state: OutsideState;
  readonly baseSha256: string;
  readonly buildId: string;
  readonly wanted: readonly string[];
  readonly sources: readonly PpaSource[];
  readonly allowDowngrades: boolean;
}

/**
 * Plans an installation with the state of an image's apt. All lists are fetched and verified for this build, as if it
 * opened the image. Throws as `updateLists` and `resolvePackages` do.
 */
export async function planOnWorker(
  { state, baseSha256, buildId, wanted, sources, allowDowngrades }: PlannedRequest,
  { client, aptCache, settings }: BuildTools,
  { signal, reporter }: LimitedContext,
): Promise<WorkerPlan> {
  const { cacheDirectory, aptCacheBytes, unprivilegedIds, installRecommends } = settings;
  await using opened = new AsyncDisposableStack();
  // One of its own: the user that apt runs as gets into it, and the users of other tools into the build's.
  const { path: workDirectory } = opened.use(await openWorkDirectory(settings.workDirectory, buildId));
  const proxy = opened.use(await startAptProxy({ client, cache: aptCache, signal }));
  const cache = { cacheDirectory, cacheBytes: aptCacheBytes * listsShare, baseImageSha256: baseSha256 };
  const caches = opened.use(await openAptCaches({ ...cache, workDirectory, signal }));
  const apt = opened.use(await openWorkerApt(state, { binds: caches.binds, workDirectory, unprivilegedIds, signal }));
  const warnings: string[] = [];
  await apt.updateLists({
    ...{ sources, proxyUrl: proxy.url, proxyFailures: () => proxy.failures, signal },
    onLog: (line) => reporter.log(line),
    onWarning: (message) => warnings.push(message),
    onProgress: ({ current, total, message }) => reporter.progress(current, total, message),
  });
  const releases = digestReleases((await apt.readRepositories()).releases);
  const options = { recommends: installRecommends, allowDowngrades, proxyUrl: proxy.url };
  const nothing = { install: [], remove: [], downloads: [], instead: new Map<string, string>() };
  const plan = wanted.length === 0 ? nothing : await resolvePackages(apt.runner, wanted, options);
  const kept = opened.move();
  return {
    ...{ state, apt, plan, releases, warnings, proxy, caches, workDirectory },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
