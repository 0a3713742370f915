import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArchiveName } from '../apt/archive-name.ts';
import { openAptCaches } from '../apt/caches.ts';
import { aptOutside } from '../apt/outside/apt-outside.ts';
import type { PresentPackage } from '../apt/outside/fetch.ts';
import { openWorkerApt, type WorkerApt } from '../apt/outside/worker-apt.ts';
import { type ResolvedPlan, resolvePackages } from '../apt/resolve.ts';
import { ImageBuilderError } from '../errors.ts';
import type { GuestDisk } from '../guest/guest.ts';
import { type ChangesSoFar, readChangesSoFar } from '../guest/opened.ts';
import { madeAnew } from '../guest/own-files.ts';
import { hashFile } from '../image/digest.ts';
import type { InspectedImage } from '../kinds/kind.ts';
import { limitOutput } from '../limits/output-limit.ts';
import { plain } from '../text.ts';
import type { Attempt } from './attempt.ts';
import { takeBaseCopy } from './base-copy.ts';
import type { BuildTools, LimitedContext } from './context.ts';
import type { BuildInputs } from './fetch-inputs.ts';
import { specificationOf } from './layer-choice.ts';
import type { KnownBase, Layer, SeenBuild } from './layer-store.ts';
import { madeOf } from './made-of.ts';
import { isOffline } from './offline.ts';
import { listsShare, openImage } from './open-image.ts';
import type { WorkerPlan } from './worker-plan.ts';

/** Packages to install into a base image, by themselves. */
export interface LayerOrder {
  /** As in `MadeOf`, sorted. */
  readonly packages: readonly string[];
  /** The base image, or the files of its release. */
  readonly files: BuildInputs['files'];
  readonly known: KnownBase;
  /** Builds that have installed them all. */
  readonly builds: readonly SeenBuild[];
  /** A plan of this build, of which the packages are a part. */
  readonly planned: WorkerPlan;
}

/** A layer as a file in the work directory; or the reason why these packages make none. */
export type MadeLayer = { readonly layer: Omit<Layer, 'wanted'>; readonly path: string } | { readonly unfit: string };

/**
 * Makes a layer: opens the base image, installs the packages without any PPA and closes it as it is, which `seal` of later
 * builds completes. Nothing of the request reaches it. Throws as each of these steps does.
 */
export async function makeLayer(
  order: LayerOrder,
  attempt: Attempt,
  tools: BuildTools,
  limited: LimitedContext,
): Promise<MadeLayer> {
  const output = limitOutput(tools.settings.maximumLogBytes);
  const context = { ...limited, output, signal: AbortSignal.any([limited.signal, output.exceeded]) };
  const { signal } = context;
  const { packages, known, planned } = order;
  const { unprivilegedIds, cacheDirectory, aptCacheBytes } = tools.settings;
  await using opened = new AsyncDisposableStack();
  const workDirectory = join(planned.worker.workDirectory, 'alone');
  await mkdir(workDirectory, { mode: 0o711 });
  opened.defer(() => rm(workDirectory, { recursive: true, force: true }));
  const cache = { cacheDirectory, cacheBytes: aptCacheBytes * listsShare, baseImageSha256: known.baseSha256 };
  const caches = opened.use(await openAptCaches({ ...cache, workDirectory, signal }));
  const place = { binds: caches.binds, workDirectory, unprivilegedIds, signal };
  const worker = opened.use(await openWorkerApt(known.state, place));
  const plan = await planAlone(packages, worker, order);
  if (plan === null) return { unfit: 'apt would not install them by themselves' };
  return await install({ order, attempt, worker, plan }, tools, context);
}

/** The plan of exactly these packages without the PPAs; null where apt would do something else. */
async function planAlone(
  packages: readonly string[],
  { runner }: WorkerApt,
  { known, planned }: LayerOrder,
): Promise<ResolvedPlan | null> {
  const options = { recommends: false, allowDowngrades: false, proxyUrl: planned.worker.proxy.url };
  const { architecture } = known.facts;
  const plan = await resolvePackages(
    runner,
    packages.map((entry) => specificationOf(entry, architecture)),
    options,
  );
  return isPlanOf(plan, packages) ? plan : null;
}

/** Whether a plan installs exactly these packages, and removes none. */
function isPlanOf(plan: ResolvedPlan, packages: readonly string[]): boolean {
  const made = madeOf([], plan);
  return made?.removed.length === 0 && made.packages.join('\n') === packages.join('\n');
}

interface Parts {
  readonly order: LayerOrder;
  readonly attempt: Attempt;
  readonly worker: WorkerApt;
  readonly plan: ResolvedPlan;
}

async function install(parts: Parts, tools: BuildTools, context: LimitedContext): Promise<MadeLayer> {
  const { order, attempt, worker, plan } = parts;
  const { files, known, planned } = order;
  const { build, kind, chosen } = attempt;
  const { signal, reporter, space } = context;
  const { maximumVirtualBytes, unprivilegedIds } = tools.settings;
  // The files of kinds with overlays have the names of those of the build.
  const workDirectory = join(attempt.place.workDirectory, 'alone');
  await using made = new AsyncDisposableStack();
  await mkdir(workDirectory, { mode: 0o711 });
  made.defer(() => rm(workDirectory, { recursive: true, force: true }));
  const place = { overlayPath: join(workDirectory, 'layer-overlay.qcow2'), workDirectory, buildId: build.buildId };
  const inspected = await kind.inspect(files[0], {
    ...{ maximumVirtualBytes, unprivilegedIds, workDirectory, signal, outputFormat: 'qcow2' },
    ...{ diskBytes: null, baseImage: build.request.base_image, files },
    onNotice: () => undefined,
    onProgress: () => undefined,
  });
  const needs = space.plan.beforeChange(inspected.size, null);
  await space.claim({ ...needs, work: needs.work + inspected.size.packedBytes });
  const { proxy } = planned.worker;
  const { series } = build.request.base_image;
  const base = inspected.base ?? files[0];
  const uncompressedPath =
    chosen.guest.kind === 'host' ? await takeBaseCopy(base, inspected, tools.settings, workDirectory) : undefined;
  const disk = withoutChanges(await inspected.open(place, { signal, uncompressedPath }));
  await using image = await openImage({ disk, opener: chosen.guest, base, series, kind, known, proxy }, tools, context);
  const asked = new Set(proxy.asked);
  const apt = aptOutside({ inside: image.session, worker, state: known.state, plan, unprivilegedIds, signal });
  const installed = await apt.installPackages(
    order.packages.map((entry) => specificationOf(entry, known.facts.architecture)),
    {
      ...{ sources: [], proxyUrl: proxy.url, proxyFailures: () => proxy.failures, signal },
      ...{ recommends: false, allowDowngrades: false },
      onLog: (line) => reporter.log(line),
      onProgress: ({ current, total, message }) => reporter.progress(current, total, message),
    },
  );
  if (!isPlanOf(installed.plan, order.packages))
    throw new ImageBuilderError('upstream.status', 'the repositories have changed');
  const present = await describePresent(join(worker.directory, 'packages'), worker.archives);
  const changes = await readChangesSoFar(image.session, image.folders);
  const reason = whyNotShared(changes, order.builds);
  if (reason !== null) return { unfit: reason };
  const fetched = [...proxy.asked].filter((url) => !asked.has(url));
  if (!isOffline(fetched, plan.downloads)) return { unfit: 'their scripts fetch more than packages' };
  await image.suspend();
  const { openedSeconds } = changes;
  return await pack({ ...parts, inspected, disk, present, openedSeconds }, tools, context);
}

/** The reason why other builds must not have these changes; null where they would make the same. */
function whyNotShared({ ordered, own, removed }: ChangesSoFar, builds: readonly SeenBuild[]): string | null {
  if (ordered !== null) return `they change ${ordered}, which depends on the packages beside them`;
  if (own === null) return 'the files that their scripts make cannot be compared';
  const [anew] = builds.flatMap((build) => madeAnew(own, build.own, removed) ?? []);
  return anew === undefined ? null : `each build makes its own ${plain(anew)}`;
}

interface SuspendedBuild extends Parts, Pick<Layer, 'present' | 'openedSeconds'> {
  readonly inspected: InspectedImage;
  readonly disk: Parameters<InspectedImage['pack']>[0];
}

async function pack(
  { order, attempt, inspected, disk, present, openedSeconds }: SuspendedBuild,
  { settings }: BuildTools,
  { signal, reporter }: LimitedContext,
): Promise<MadeLayer> {
  const { compression, xzPreset, xzThreads } = settings;
  const path = join(attempt.place.workDirectory, 'layer.qcow2');
  if (attempt.kind.layerForm === 'overlay') await rename(disk.overlayPath, path);
  else {
    await inspected.pack(disk, path, {
      ...{ compression, xzPreset, xzThreads, signal },
      onProgress: (fraction) => reporter.progress(Math.round(fraction * 100), 100),
      onLog: (line) => reporter.log(line),
      onWarning: () => undefined,
    });
  }
  const { sizeBytes, checksums } = await hashFile(path, { signal });
  const made = { present, openedSeconds, sizeBytes, sha256: checksums.sha256, madeAt: new Date().toISOString() };
  return { layer: { packages: order.packages, ...made }, path };
}

/** Nobody asks for the changes of a layer by themselves. */
function withoutChanges(disk: GuestDisk): GuestDisk {
  const { changes: _, ...bare } = disk;
  return bare;
}

/** The package files that were handed in, with the sizes that they had in `archives`: some are handed in uncompressed. */
async function describePresent(folder: string, archives: string): Promise<PresentPackage[]> {
  const files = await readdir(folder);
  const described = files.map(async (file): Promise<PresentPackage[]> => {
    const named = parseArchiveName(file);
    return named === null ? [] : [{ ...named, file, sizeBytes: (await stat(join(archives, file))).size }];
  });
  return (await Promise.all(described)).flat();
}
