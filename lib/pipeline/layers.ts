import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ResolvedPlan } from '../apt/resolve.ts';
import { errorTable, toImageBuilderError } from '../errors.ts';
import type { BaseImage } from '../fetch/base-image.ts';
import type { OwnFiles } from '../guest/own-files.ts';
import { hashRanges } from '../image/hash-ranges.ts';
import type { BegunOverlay } from '../kinds/kind.ts';
import { formatBytes } from '../text.ts';
import type { Attempt } from './attempt.ts';
import type { BuildTools, LimitedContext } from './context.ts';
import type { BuildInputs } from './fetch-inputs.ts';
import {
  buildsWith,
  fittingLayers,
  leastPackages,
  mayShare,
  namesOf,
  newLayer,
  sharedPackages,
} from './layer-choice.ts';
import { type KnownBase, type Layer, type LayerStore, openLayerStore, type Shelf } from './layer-store.ts';
import { makeLayer } from './make-layer.ts';
import type { Steps } from './steps.ts';
import { isFetchedOutside, openAptOnWorker, plannedRequest, planOnWorker, type WorkerPlan } from './worker-plan.ts';

/** The layers of this worker, for one build. */
export interface Layers {
  /** The base image as earlier builds have found it; null where none has opened it, or it opens otherwise for this build. */
  readonly known: KnownBase | null;
  /** Whether `learn` wants to know the base image as it was. */
  readonly isBaseWanted: boolean;
  /** A layer to begin with, or a plan; null to begin with the base image alone. */
  begin(): Promise<Beginning | null>;
  /** Notes what an installation has found out, for layers to come. Never fails a build. */
  learn(base: KnownBase | null, plan: ResolvedPlan, own: OwnFiles | null): Promise<void>;
  /** Forgets the layer of a build that has failed on it. */
  forget(layer: Layer): Promise<void>;
}

/** The plan of a build's whole installation, and a layer in the work directory. Disposing it ends the plan's apt. */
export interface Beginning extends AsyncDisposable {
  /** The image of the layer in the place of the base image, or the base image. */
  readonly file: BaseImage;
  /** The layer, where it is the overlay of a disk. */
  readonly overlay: BegunOverlay | undefined;
  /** Null where none fits, and the plan is of use by itself. */
  readonly layer: Layer | null;
  readonly planned: WorkerPlan;
}

const none: Layers = {
  known: null,
  isBaseWanted: false,
  begin: async () => null,
  learn: async () => undefined,
  forget: async () => undefined,
};

/**
 * Opens the layers for a build. There are none for kinds without them, for requests that change how packages are
 * installed, and where a person looks into the build.
 */
export async function openLayers(
  attempt: Attempt,
  inputs: BuildInputs,
  steps: Steps,
  tools: BuildTools,
  context: LimitedContext,
): Promise<Layers> {
  const { build, kind, chosen, place } = attempt;
  const { request } = build;
  const { cacheDirectory, layersCacheBytes, vmNetwork, compression, maximumVirtualBytes } = tools.settings;
  const isUsual =
    request.package_list.length > 0 &&
    request.debconf_selections.length === 0 &&
    request.foreign_architectures.length === 0 &&
    request.hold_packages.length === 0 &&
    !request.allow_downgrades &&
    request.disk_size === undefined;
  if (layersCacheBytes === 0 || kind.layerForm === undefined || !isUsual || context.visitor !== undefined) return none;
  const { url_list, checksum, ...base } = request.base_image;
  const files = inputs.files.map(({ sha256 }) => sha256);
  const key = { files, base, maximumVirtualBytes, guest: chosen.guest.kind, vmNetwork, compression };
  const store = await openLayerStore(cacheDirectory, layersCacheBytes, key);
  const known = await store.readBase();
  const shelf = await store.readShelf();
  const { workDirectory } = place;
  const storePlace = { workDirectory, signal: context.signal };
  return {
    known,
    isBaseWanted: known === null,
    async begin() {
      const wanted = request.package_list;
      if (known === null || !request.reuse || !mayShare(wanted, shelf)) return null;
      return await steps.run('reuse', 'looking for packages that are installed already', () =>
        begin({ attempt, inputs, store, shelf, known }, tools, context),
      );
    },
    async learn(fresh, plan, own) {
      const packages = sharedPackages(plan, inputs.sources);
      const wanted = namesOf(request.package_list);
      const seen = packages.length < leastPackages || own === null ? null : { wanted, packages, own };
      await store.learn(fresh, seen, storePlace).catch((error: unknown) => {
        context.log.warn('what a build has found out is not noted for others', { error });
      });
    },
    forget: (layer) =>
      store.forget(layer, { ...storePlace, signal: new AbortController().signal }).catch((error: unknown) => {
        context.log.warn('a layer is not forgotten', { error });
      }),
  };
}

interface Given {
  readonly attempt: Attempt;
  readonly inputs: BuildInputs;
  readonly store: LayerStore;
  readonly shelf: Shelf;
  readonly known: KnownBase;
}

/** Never fails a build: one that begins with the base image meets the error again, and says it in its own step. */
async function begin(given: Given, tools: BuildTools, context: LimitedContext): Promise<Beginning | null> {
  try {
    return await chooseLayer(given, tools, context);
  } catch (error) {
    context.signal.throwIfAborted();
    context.reporter.log(`no layer is used: ${toImageBuilderError(error).message}`);
    return null;
  }
}

function keep(opened: AsyncDisposableStack): AsyncDisposable {
  const kept = opened.move();
  return { [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function chooseLayer(given: Given, tools: BuildTools, context: LimitedContext): Promise<Beginning | null> {
  const { attempt, inputs, known } = given;
  const { sources, files } = inputs;
  const asked = plannedRequest(known, attempt, inputs);
  if (asked === null) return null;
  await using opened = new AsyncDisposableStack();
  const worker = opened.use(await openAptOnWorker(asked, tools, context));
  const planned = await planOnWorker(worker, tools, context);
  const packages = sharedPackages(planned.plan, sources);
  const layers = await withNewLayer(packages, { ...given, planned }, tools, context);
  const path = join(attempt.place.workDirectory, 'layer');
  for (const layer of fittingLayers(layers, packages)) {
    if (!(await takeLayer(layer, path, given, context))) continue;
    context.reporter.notice(
      `${layer.packages.length} of ${planned.plan.install.length} packages are installed already, since ${layer.madeAt}`,
    );
    const isImage = attempt.kind.layerForm === 'image';
    const file = isImage ? { ...files[0], path, sizeBytes: layer.sizeBytes, isSound: true } : files[0];
    const overlay = isImage ? undefined : { path, openedSeconds: layer.openedSeconds };
    return { file, overlay, layer, planned, ...keep(opened) };
  }
  const isUseful = isFetchedOutside(attempt, tools.settings);
  return isUseful ? { file: files[0], overlay: undefined, layer: null, planned, ...keep(opened) } : null;
}

/**
 * The layers for a build with these packages: those of the shelf, and the one that is made for it, where one is worth it. A
 * build that waits for another which makes the same layer takes that.
 */
async function withNewLayer(
  packages: readonly string[],
  given: Given & { readonly planned: WorkerPlan },
  tools: BuildTools,
  context: LimitedContext,
): Promise<readonly Layer[]> {
  const { inputs, store, shelf, known } = given;
  const { signal, reporter } = context;
  const { layersCacheBytes } = tools.settings;
  const wanted = newLayer(shelf, packages, layersCacheBytes);
  // Not before all of it was read once.
  const isRead = inputs.files.some(({ sha256, isSound }) => isSound && sha256 === known.baseSha256);
  if (wanted === null || !isRead) return shelf.layers;
  const onWait = () => reporter.notice('another build installs the same packages for later builds; waiting for it');
  await using _ = await store.turn(wanted, { signal, onWait });
  const now = await store.readShelf();
  // Another build may have made it meanwhile, or found that it cannot be made.
  const isStillWanted = newLayer(now, packages, layersCacheBytes)?.join('\n') === wanted.join('\n');
  const made = isStillWanted ? await addLayer(wanted, given, tools, context) : null;
  return [...(made === null ? [] : [made]), ...now.layers];
}

/** Makes a layer of these packages. Null where there is none afterwards; never fails a build. */
async function addLayer(
  packages: readonly string[],
  { attempt, inputs, store, shelf, known, planned }: Given & { readonly planned: WorkerPlan },
  tools: BuildTools,
  context: LimitedContext,
): Promise<Layer | null> {
  const { files } = inputs;
  const { signal, reporter, log } = context;
  const storePlace = { workDirectory: attempt.place.workDirectory, signal };
  reporter.log(`${packages.length} packages are installed for later builds too`);
  try {
    const made = await makeLayer(
      { packages, files, known, planned, builds: buildsWith(shelf, packages) },
      attempt,
      tools,
      context,
    );
    if ('unfit' in made) {
      reporter.log(`no layer is made of ${packages.length} packages: ${made.unfit}`);
      await store.refuse({ packages, sizeBytes: null }, storePlace);
      return null;
    }
    const layer = { ...made.layer, wanted: namesOf(attempt.build.request.package_list) };
    const { sizeBytes } = layer;
    if (sizeBytes <= tools.settings.layersCacheBytes) return await store.keep(layer, made.path, storePlace);
    await rm(made.path);
    await store.refuse({ packages, sizeBytes }, storePlace);
    const needs = `a layer of ${packages.length} packages takes ${formatBytes(sizeBytes)}, which IMAGEBUILDER_LAYERS_CACHE_SIZE does not allow`;
    reporter.notice(`warning: ${needs}: they are installed anew by every build`);
    return null;
  } catch (error) {
    signal.throwIfAborted();
    log.warn('no layer is made', { error });
    const { code, message } = toImageBuilderError(error);
    reporter.log(`no layer is made of ${packages.length} packages: ${message}`);
    if (!errorTable[code].retryable) await store.refuse({ packages, sizeBytes: null }, storePlace);
    return null;
  }
}

/** Puts the image of a layer at `path`. False where it is gone, or damaged: it would be in all images made from it. */
async function takeLayer(
  layer: Layer,
  path: string,
  { attempt, store }: Given,
  { signal, reporter, log }: LimitedContext,
): Promise<boolean> {
  await rm(path, { force: true });
  if (await store.take(layer, path)) {
    if ((await hashOf(path, signal)) === layer.sha256) return true;
    log.warn('a layer in the cache is damaged', { made_at: layer.madeAt });
    reporter.notice('warning: installed packages in the cache are damaged: they are installed anew');
  }
  await store.forget(layer, { workDirectory: attempt.place.workDirectory, signal });
  return false;
}

async function hashOf(path: string, signal: AbortSignal): Promise<string | undefined> {
  await using handle = await open(path, 'r');
  const { size: sizeBytes } = await handle.stat();
  const digests = await hashRanges([{ handle, offsetBytes: 0, sizeBytes }], new Set(['sha256']), { signal });
  return digests.get('sha256');
}
