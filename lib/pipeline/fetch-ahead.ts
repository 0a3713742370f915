import { type FetchedPackages, fetchPackages, type PresentPackage } from '../apt/outside/fetch.ts';
import type { AptProgress } from '../apt/update.ts';
import { runsOn, workerArchitecture } from '../architecture.ts';
import type { BaseSize } from '../limits/space-plan.ts';
import { type InstallUse, installOptions } from './apt-options.ts';
import type { Attempt } from './attempt.ts';
import type { BuildTools, LimitedContext } from './context.ts';
import type { BuildInputs } from './fetch-inputs.ts';
import type { KnownBase } from './layer-store.ts';
import type { Beginning } from './layers.ts';
import {
  type AptOnWorker,
  isFetchedOutside,
  openAptOnWorker,
  plannedRequest,
  type UpdatedLists,
  updateOnWorker,
  type WorkerPlan,
} from './worker-plan.ts';

/**
 * The worker's apt, which fetches the packages of a build while its image is opened. An error of it is thrown where the build
 * waits for that piece of work. Disposing it ends what is left of the work, and then the apt.
 */
export interface FetchAhead extends AsyncDisposable {
  readonly worker: AptOnWorker;
  /** Begins, unless it has begun. */
  start(this: void): void;
  /** Resolves when the package lists are up to date. Throws as `updateOnWorker` does. */
  updated(): Promise<UpdatedLists>;
  /** Resolves with the packages. Throws as `fetchPackages` does. */
  fetched(): Promise<FetchedPackages>;
}

interface FetchAheadOptions extends Pick<InstallUse, 'facts' | 'request' | 'size'> {
  readonly worker: AptOnWorker;
  /** The plan that this apt has made already; missing where it is to make it. */
  readonly planned?: WorkerPlan | undefined;
  /** As in `FetchParts`. */
  readonly present: readonly PresentPackage[];
  readonly isEmulated: boolean;
}

export interface BuildAhead {
  readonly attempt: Attempt;
  readonly inputs: Pick<BuildInputs, 'sources'>;
  /** Null where the base image is not known. */
  readonly known: KnownBase | null;
  readonly beginning: Beginning | null;
  readonly size: BaseSize;
}

/**
 * Prepares to fetch for a build that has its plan, and for one on a known base image whose packages are fetched outside the
 * image; null for others. Never fails a build: one that goes on without it meets the error again, and says it in its own step.
 */
export async function openFetchAhead(
  { attempt, inputs, known, beginning, size }: BuildAhead,
  tools: BuildTools,
  context: LimitedContext,
): Promise<FetchAhead | null> {
  if (known === null) return null;
  const { build, chosen } = attempt;
  const { facts } = known;
  const asked = isFetchedOutside(attempt, tools.settings) ? plannedRequest(known, attempt, inputs) : null;
  const opened = async () => (asked === null ? null : await openAptOnWorker(asked, tools, context));
  const worker =
    beginning?.planned.worker ??
    (await opened().catch((error: unknown) => {
      context.signal.throwIfAborted();
      context.log.info('packages are not fetched while the image is opened', { error });
      return null;
    }));
  if (worker === null) return null;
  const isEmulated =
    chosen.guest.kind === 'vm' ? chosen.accelerator === 'tcg' : !runsOn(workerArchitecture, facts.architecture);
  const present = beginning?.layer?.present ?? [];
  const planned = beginning?.planned;
  return fetchAhead({ worker, planned, present, facts, isEmulated, request: build.request, size }, tools, context);
}

/** Prepares to fetch, and reports progress only where the build waits for it. */
function fetchAhead(
  { worker, planned, present, isEmulated, ...use }: FetchAheadOptions,
  { settings }: Pick<BuildTools, 'settings'>,
  context: LimitedContext,
): FetchAhead {
  const { asked, proxy, signal } = worker;
  const { wanted, sources, state } = asked;
  const { unprivilegedIds } = settings;
  let awaited: 'lists' | 'packages' | null = null;
  const onProgressOf = (work: typeof awaited) => (progress: AptProgress) => {
    if (awaited === work) context.reporter.progress(progress.current, progress.total, progress.message);
  };
  const held: (() => void)[] = [];
  // A limit that an installation breaks ends the step that waits for the packages, not the one that runs beside it.
  const whenAwaited = (act: () => void) => {
    if (awaited === 'packages') act();
    else held.push(act);
  };
  const { room, space } = context;
  const later: LimitedContext = {
    ...{ ...context, signal },
    room: { ...room, expectGrowth: (bytes) => whenAwaited(() => room.expectGrowth(bytes)) },
    space: { ...space, expect: (needs) => whenAwaited(() => space.expect(needs)) },
  };
  room.begin(use.facts);

  const update = async () => {
    return planned === undefined ? await updateOnWorker(worker, context, onProgressOf('lists')) : planned.updated;
  };
  const fetch = async (updating: Promise<UpdatedLists>) => {
    await updating;
    const parts = { worker: worker.apt, state, plan: planned?.plan, present, isEmulated, unprivilegedIds, signal };
    const told = { ...use, sources, proxy, proxyUrl: proxy.url, warn: () => undefined };
    const options = installOptions(told, settings, later);
    return await fetchPackages(parts, wanted, { ...options, onProgress: onProgressOf('packages') });
  };
  let begun: { readonly updating: Promise<UpdatedLists>; readonly fetching: Promise<FetchedPackages> } | null = null;
  const begin = () => {
    if (begun !== null) return begun;
    const updating = update();
    begun = { updating, fetching: fetch(updating) };
    for (const work of Object.values(begun)) work.catch(() => undefined);
    return begun;
  };
  return {
    worker,
    start: begin,
    async updated() {
      awaited = 'lists';
      return await begin().updating;
    },
    async fetched() {
      awaited = 'packages';
      for (const act of held.splice(0)) act();
      return await begin().fetching;
    },
    async [Symbol.asyncDispose]() {
      worker.stop();
      await Promise.allSettled(Object.values(begun ?? {}));
      await worker[Symbol.asyncDispose]();
    },
  };
}
