import type { BuildRequest } from '../api/request.ts';
import type { Apt } from '../apt/apt.ts';
import type { ImageFacts } from '../apt/facts.ts';
import { aptInside } from '../apt/inside/apt-inside.ts';
import type { PpaSource } from '../apt/launchpad.ts';
import { addFiles } from '../apt/outside/add-files.ts';
import { installFetched, openAptOutside } from '../apt/outside/apt-outside.ts';
import { type OutsideState, readOutsideState } from '../apt/outside/worker-apt.ts';
import { planInstallation } from '../apt/planned.ts';
import { prepareApt } from '../apt/prepare.ts';
import { addSources, sourceFiles } from '../apt/sources.ts';
import { together } from '../async.ts';
import { type ErrorCode, ImageBuilderError } from '../errors.ts';
import type { AptProxy } from '../fetch/apt-proxy.ts';
import type { GuestSession } from '../guest/guest.ts';
import type { BaseSize } from '../limits/space-plan.ts';
import { type AptUse, aptOptions } from './apt-options.ts';
import type { BuildTools, LimitedContext } from './context.ts';
import type { FetchAhead } from './fetch-ahead.ts';
import type { OpenImage } from './open-image.ts';
import { keepLists, type UpdatedLists } from './worker-plan.ts';

/** An opened image and its changes to come. */
export interface Change {
  readonly image: OpenImage;
  readonly size: BaseSize;
  readonly workDirectory: string;
  readonly series: string;
  readonly sources: readonly PpaSource[];
  readonly request: Pick<
    BuildRequest,
    'debconf_selections' | 'foreign_architectures' | 'allow_downgrades' | 'hold_packages'
  >;
  /** The worker's apt that fetches what is to be installed; missing where there is none. */
  readonly ahead?: FetchAhead | undefined;
  /** The state of apt without the PPAs, where it is known. */
  readonly baseState?: OutsideState | undefined;
  /** Whether to read that state, which is not known. Default: false. */
  readonly isBaseWanted?: boolean;
}

/** Adds the PPAs to the image and updates its package lists. Resolves with an apt that uses these lists. */
export async function openApt(change: Change, tools: BuildTools, context: LimitedContext): Promise<Apt> {
  return (await openUpdatedApt(change, tools, context)).apt;
}

export interface OpenedApt {
  readonly apt: Apt;
  /** The facts with the architectures that the request adds. */
  readonly facts: ImageFacts;
  /** With the PPAs; null where it was not read. */
  readonly state: OutsideState | null;
  /** The state without them, where it was read. */
  readonly freshState: OutsideState | null;
}

/** The same, with what was read on the way. */
export async function openUpdatedApt(
  change: Change,
  { settings }: BuildTools,
  context: LimitedContext,
): Promise<OpenedApt> {
  const { image, sources, request, series, ahead } = change;
  const { session, caches, proxy } = image;
  const { unprivilegedIds } = settings;
  const { signal } = context;
  return await blameProxy(proxy, async () => {
    if (ahead !== undefined) return await openAptAhead(ahead, change, signal);
    const freshState = change.isBaseWanted === true ? await readBaseState(change, context) : null;
    const baseState = change.baseState ?? freshState;
    const added = sourceFiles(image.facts, sources, series);
    const composed = baseState === null ? null : addFiles(baseState, added);
    // In one go, where nothing else comes between the two: to start a script takes as long as adding them.
    const isOneGo = composed !== null && isInside(session);
    if (!isOneGo) await addSources(session, image.facts, sources, series);
    const facts = await prepareApt(session, image.facts, {
      foreignArchitectures: request.foreign_architectures,
      selections: request.debconf_selections,
    });
    const place = { binds: caches.binds, workDirectory: change.workDirectory };
    const state = composed ?? (isInside(session) ? null : await readOutsideState(session, facts));
    const apt = image.use(
      state === null || isInside(session)
        ? aptInside(session, facts)
        : await openAptOutside(session, state, { ...place, unprivilegedIds, signal }),
    );
    // A vm would have to read all of it from its disk, and the worker's apt reads none that lies in reach of an image.
    const index = isInside(session) && session.kind === 'host' ? await caches.takeIndex('inside', sources) : undefined;
    await apt.updateLists({ ...aptOptions(aptUse(change), context), added: isOneGo ? added : [], index });
    await keepLists(caches, sources, context);
    return { apt, facts, state, freshState };
  });
}

/** Adds the PPAs to the image while the worker's apt is at work. */
async function openAptAhead(
  ahead: FetchAhead,
  { image, sources, series }: Change,
  signal: AbortSignal,
): Promise<OpenedApt> {
  const { session, facts } = image;
  const [{ warnings, repositories }] = await together<[UpdatedLists, unknown]>(signal, () => [
    ahead.updated(),
    addSources(session, facts, sources, series),
  ]);
  for (const warning of warnings) image.warn(warning);
  const { apt: worker, asked } = ahead.worker;
  const apt: Apt = {
    updateLists: worker.updateLists,
    // Later lists are not those of the plan.
    readRepositories: async () => repositories,
    planInstallation: (specifications, options) => planInstallation(worker.runner, specifications, options),
    installPackages: async (_, options) => await installFetched(session, await ahead.fetched(), options),
    [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose](),
  };
  return { apt: image.use(apt), facts, state: asked.state, freshState: null };
}

/** Never fails a build: where apt's state cannot be used without the image, layers are not made. */
async function readBaseState({ image }: Change, { signal, log }: LimitedContext): Promise<OutsideState | null> {
  try {
    return await readOutsideState(image.session, image.facts);
  } catch (error) {
    signal.throwIfAborted();
    log.info('no layers are made of this base image: its sources cannot be read', { error });
    return null;
  }
}

/** Whether the image's own apt resolves and fetches: it needs a network, and is slow where it is emulated. */
function isInside({ network, emulation }: Pick<GuestSession, 'network' | 'emulation'>): boolean {
  return network && emulation !== 'programs';
}

/** How apt for this image reaches servers, and says what it does. */
export function aptUse({ image, size, sources, ahead }: Change): AptUse {
  const { session, proxy } = image;
  const proxyUrl = (ahead === undefined && isInside(session) ? session.proxyUrl : undefined) ?? proxy.url;
  return { sources, proxy, proxyUrl, size, warn: image.warn };
}

const ofProxies: readonly ErrorCode[] = ['egress.refused', 'disk.full', 'proxy.refused'];

/** Apt sees a refusal of our own proxy, or of the network's, as one of the server's; the proxy's own error is the better one. */
export async function blameProxy<Value>(proxy: AptProxy, work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    const refused = proxy.failures.find(({ code }) => ofProxies.includes(code));
    throw refused === undefined ? error : new ImageBuilderError(refused.code, refused.message);
  }
}
