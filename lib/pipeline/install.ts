import type { ImageResult } from '../api/image-result.ts';
import type { Apt, Installation } from '../apt/apt.ts';
import { assertInstalled, reportAsked } from '../apt/asked.ts';
import type { ImageFacts } from '../apt/facts.ts';
import { assertHoldable, holdPackages } from '../apt/hold.ts';
import { type OutsideState, readOutsideState } from '../apt/outside/worker-apt.ts';
import { comparePackages } from '../apt/packages.ts';
import { describeRepositories } from '../apt/repositories/describe.ts';
import { readReleaseFiles } from '../apt/repositories/read-lists.ts';
import type { Repositories } from '../apt/repositories/repository.ts';
import { readRoom, withRoom } from '../apt/room.ts';
import { ImageBuilderError } from '../errors.ts';
import { installOptions } from './apt-options.ts';
import type { BuildTools, LimitedContext, Visitor } from './context.ts';
import { digestReleases, type PlanBasis } from './made-of.ts';
import { isOffline } from './offline.ts';
import { aptUse, blameProxy, type Change, openUpdatedApt } from './open-apt.ts';

/** Apt with lists that are up to date, and the repositories that they come from; null where nobody asks for these. */
export interface UpdatedApt {
  readonly apt: Apt;
  readonly repositories: Repositories | null;
  /** The sources of packages, by which a later build finds that its image would be the same; null: it cannot. */
  readonly basis: PlanBasis | null;
  /** The state of the image's apt without the PPAs, where it was read. */
  readonly freshState: OutsideState | null;
}

/** Adds the PPAs to the image and updates its package lists, as `openApt` does, and describes the repositories. */
export async function addPpas(change: Change, tools: BuildTools, context: LimitedContext): Promise<UpdatedApt> {
  const { apt, facts, state, freshState } = await openUpdatedApt(change, tools, context);
  const { settings } = tools;
  const repositories =
    settings.provenanceKey === null
      ? null
      : await blameProxy(change.image.proxy, () => lookAtRepositories(apt, change, settings, context));
  const basis = settings.finishedCacheBytes === 0 ? null : await findBasis(change, facts, state, context);
  return { apt, repositories, basis, freshState };
}

/** Never fails a build: where the sources cannot be used without the image, a later one has to open it. */
async function findBasis(
  { image, ahead }: Change,
  facts: ImageFacts,
  known: OutsideState | null,
  { signal, log }: LimitedContext,
): Promise<PlanBasis | null> {
  if (ahead !== undefined) return { state: ahead.worker.asked.state, releases: (await ahead.updated()).releases };
  try {
    const state = known ?? (await readOutsideState(image.session, facts));
    return { state, releases: digestReleases(await readReleaseFiles(image.caches.lists)) };
  } catch (error) {
    signal.throwIfAborted();
    log.info('the image is not kept for the same request: its sources cannot be read', { error });
    return null;
  }
}

/** Never fails a build: where the repositories cannot be described, says so. */
async function lookAtRepositories(
  apt: Apt,
  { image, workDirectory }: Change,
  { unprivilegedIds }: BuildTools['settings'],
  { signal, log }: LimitedContext,
): Promise<Repositories> {
  const options = { workDirectory, unprivilegedIds, signal };
  try {
    return await describeRepositories(await apt.readRepositories(), image.facts.architecture, options);
  } catch (error) {
    signal.throwIfAborted();
    log.warn('repositories not described', { error });
    return { repositories: [], notKnown: 'the repositories: their files could not be read' };
  }
}

/** The part of a build's result that is about packages. */
export interface InstallResult {
  readonly packages: NonNullable<ImageResult['packages']>;
  readonly removed: NonNullable<ImageResult['removed']>;
  /** All packages of the image from then on. */
  readonly installed: Installation;
  /** Whether scripts of the packages have fetched nothing. */
  readonly isOffline: boolean;
}

/** Installs packages. Resolves with those that were added, changed or removed, dependencies included. */
export async function install(
  packages: readonly string[],
  apt: Apt,
  change: Change,
  tools: BuildTools,
  context: LimitedContext,
): Promise<InstallResult> {
  const { facts, proxy } = change.image;
  const before = new Set(proxy.asked);
  const installation = await runInstallation(packages, apt, change, tools, context, context.visitor?.onPlan);
  const { changed, removed } = comparePackages(facts.packages, installation.packages, facts.architecture);
  const { warnings, notices } = reportAsked(packages, { ...installation, changed });
  for (const warning of warnings) change.image.warn(warning);
  for (const notice of notices) context.reporter.notice(notice);
  const asked = [...proxy.asked].filter((url) => !before.has(url));
  return {
    ...{ packages: [...changed], removed: [...removed], installed: installation },
    isOffline: isOffline(asked, installation.plan.downloads),
  };
}

/**
 * Installs packages, and holds those that the request wants held. `onPlan` is called before the first change. Throws
 * `image.full`, `guest.limit`, and as `Apt.installPackages` does.
 */
export async function runInstallation(
  packages: readonly string[],
  apt: Apt,
  change: Change,
  { settings }: BuildTools,
  context: LimitedContext,
  onPlan?: Visitor['onPlan'],
): Promise<Installation> {
  const { facts, proxy, session } = change.image;
  const held = change.request.hold_packages;
  const { reporter, log, room } = context;
  const options = installOptions({ ...aptUse(change), facts, request: change.request }, settings, context);
  room.begin(facts);
  if (onPlan !== undefined) onPlan(await blameProxy(proxy, () => apt.planInstallation(packages, options)));
  const installation = await blameProxy(proxy, () => apt.installPackages(packages, options)).catch(
    async (error: unknown) => {
      if (!(error instanceof ImageBuilderError) || error.code !== 'image.full') throw error;
      // Only what is left of it now: a script that fails as well would hide the error.
      throw withRoom(error, await readRoom(session).catch(() => []));
    },
  );
  const { remove } = installation.plan;
  assertInstalled(installation.plan, installation.packages, facts.architecture);
  assertHoldable(held, facts, installation.plan);
  await holdPackages(session, held);
  if (remove.length > 0) reporter.notice(`removed because they conflict: ${remove.join(' ')}`);
  const { hits, misses } = proxy.statistics;
  log.info('packages installed', { proxy_hits: hits, proxy_misses: misses });
  return installation;
}
