import type { ImageResult } from '../api/event.ts';
import { type AptCaches, openAptCaches } from '../apt/caches.ts';
import { assertSeries, type ImageFacts, readImageFacts } from '../apt/facts.ts';
import { installPackages } from '../apt/install.ts';
import { parseInstalledSize } from '../apt/installed-size.ts';
import type { PpaSource } from '../apt/launchpad.ts';
import { openOfflineApt } from '../apt/offline/offline-apt.ts';
import { comparePackages, type InstalledPackage, readPackages } from '../apt/packages.ts';
import type { InstallPlan } from '../apt/resolve.ts';
import { addSources } from '../apt/sources.ts';
import { type AptProgress, updateLists } from '../apt/update.ts';
import { ImageBuilderError } from '../errors.ts';
import { type AptProxy, startAptProxy } from '../fetch/apt-proxy.ts';
import type { Guest, GuestDisk, GuestSession } from '../guest/guest.ts';
import { beforeChange, sealImage } from '../guest/seal.ts';
import type { BaseSize } from '../limits/space-plan.ts';
import type { BuildTools, LimitedContext } from './context.ts';

export interface ChangeOptions extends GuestDisk {
  /** The guest, or what it has prepared for this. */
  readonly opener: Pick<Guest, 'open'>;
  readonly baseImageSha256: string;
  readonly baseSize: BaseSize;
  readonly series: string;
  readonly sources: readonly PpaSource[];
  readonly packages: readonly string[];
}

export interface ChangedImage {
  /** As they were before the change. */
  readonly facts: ImageFacts;
  /** What was added or changed. */
  readonly packages: NonNullable<ImageResult['packages']>;
}

/** Everything that happens inside the image. Afterwards the overlay holds it, and nothing has it open. */
export async function changeImage(
  options: ChangeOptions,
  tools: BuildTools,
  context: LimitedContext,
): Promise<ChangedImage> {
  const { client, aptCache, chooseGuest, settings } = tools;
  const { signal, reporter, output } = context;
  const { guest, accelerator, reason } = await chooseGuest();
  reporter.guest({ kind: guest.kind, accelerator, reason });
  await using proxy = await startAptProxy({ client, cache: aptCache, signal });
  await using caches = await openAptCaches({
    cacheDirectory: settings.cacheDirectory,
    cacheBytes: settings.aptCacheBytes * listsShare,
    baseImageSha256: options.baseImageSha256,
    workDirectory: options.workDirectory,
    signal,
  });
  await using opened = await options.opener.open(options, {
    signal,
    onNotice: (message) => reporter.notice(message),
    binds: caches.binds,
    proxy,
  });
  const session = output.around(opened);
  const facts = await readImageFacts(session);
  assertSeries(facts, options.series);
  const pristine = await beforeChange(session);
  const packages = await install(session, { facts, proxy, caches, ...options }, tools, context).catch(
    (error: unknown) => Promise.reject(ownRefusal(proxy) ?? error),
  );
  const { changed } = comparePackages(facts.packages, packages, facts.architecture);

  reporter.begin('seal', 'cleaning up inside the image');
  await sealImage(session, pristine);
  await session.close();
  return { facts, packages: [...changed] };
}

function assertPackageCount({ install }: InstallPlan, maximumPackages: number): void {
  if (install.length <= maximumPackages) return;
  throw new ImageBuilderError(
    'guest.limit',
    `${install.length} packages would be installed or upgraded, dependencies included; IMAGEBUILDER_MAXIMUM_PACKAGES allows ${maximumPackages}`,
  );
}

/** Part of the apt cache's size that package lists may take; packages get the rest. */
export const listsShare = 0.2;

/** Resolves with the packages that the image has then. */
async function install(
  session: GuestSession,
  inputs: Pick<ChangeOptions, 'series' | 'sources' | 'packages' | 'workDirectory' | 'baseSize'> & {
    readonly facts: ImageFacts;
    readonly proxy: AptProxy;
    readonly caches: AptCaches;
  },
  { settings }: BuildTools,
  { reporter, signal, space, log }: LimitedContext,
): Promise<readonly InstalledPackage[]> {
  const { facts, proxy, caches, series, sources, packages, workDirectory } = inputs;
  const onLog = (line: string) => {
    reporter.log(line);
    const growthBytes = parseInstalledSize(line);
    if (growthBytes !== null) space.expect(space.plan.beforeChange(inputs.baseSize, growthBytes));
  };
  const onProgress = ({ current, total, message }: AptProgress) => reporter.progress(current, total, message);

  reporter.begin('sources', sources.length === 0 ? 'updating the package lists' : 'adding the PPAs');
  await addSources(session, facts, sources, series);
  await using offline = session.network
    ? null
    : await openOfflineApt(session, {
        ...{ facts, binds: caches.binds, workDirectory },
        ...{ unprivilegedIds: settings.unprivilegedIds, signal },
      });
  const proxyUrl = session.proxyUrl ?? proxy.url;
  const proxyFailures = () => proxy.failures;
  const updateOptions = { sources, proxyUrl, proxyFailures, signal, onLog, onProgress };
  await (offline === null ? updateLists(session, updateOptions) : offline.updateLists(updateOptions));
  await caches.publish(sources).catch((error: unknown) => {
    // The next build fetches them again.
    log.warn('package lists not cached', { error });
  });

  reporter.begin('install', packages.length === 0 ? 'no packages to install' : `installing ${packages.join(' ')}`);
  const onPlan = (plan: InstallPlan) => assertPackageCount(plan, settings.maximumPackages);
  const installOptions = { ...updateOptions, recommends: settings.installRecommends, onPlan };
  const { plan, packages: installed } = await (offline === null
    ? { plan: await installPackages(session, packages, installOptions), packages: await readPackages(session) }
    : offline.installPackages(packages, installOptions));
  if (plan.remove.length > 0) reporter.notice(`removed because they conflict: ${plan.remove.join(' ')}`);
  const { hits, misses } = proxy.statistics;
  log.info('packages installed', { proxy_hits: hits, proxy_misses: misses });
  return installed;
}

/** Apt sees a refusal of our own proxy as one of the server's; the cause is the better error. */
function ownRefusal(proxy: AptProxy): ImageBuilderError | null {
  const refused = proxy.failures.find(({ code }) => code === 'egress.refused' || code === 'disk.full');
  return refused === undefined ? null : new ImageBuilderError(refused.code, refused.message);
}
