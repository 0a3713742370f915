import type { BuildRequest } from '../api/request.ts';
import type { Apt } from '../apt/apt.ts';
import type { ImageFacts } from '../apt/facts.ts';
import { aptInside } from '../apt/inside/apt-inside.ts';
import { parseInstalledSize } from '../apt/installed-size.ts';
import type { PpaSource } from '../apt/launchpad.ts';
import { addFiles } from '../apt/outside/add-files.ts';
import { aptOutside, openAptOutside, type PresentPackage } from '../apt/outside/apt-outside.ts';
import { type OutsideState, readOutsideState } from '../apt/outside/worker-apt.ts';
import { prepareApt } from '../apt/prepare.ts';
import { addSources, sourceFiles } from '../apt/sources.ts';
import type { AptProgress, UpdateOptions } from '../apt/update.ts';
import { type ErrorCode, ImageBuilderError } from '../errors.ts';
import type { AptProxy } from '../fetch/apt-proxy.ts';
import type { GuestSession } from '../guest/guest.ts';
import type { BaseSize } from '../limits/space-plan.ts';
import type { BuildTools, LimitedContext } from './context.ts';
import type { OpenImage } from './open-image.ts';
import type { WorkerPlan } from './worker-plan.ts';

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
  /** The plan of the installation, and packages of it that the image has already; missing where there is none. */
  readonly begun?: { readonly planned: WorkerPlan; readonly present: readonly PresentPackage[] } | undefined;
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
  const { image, sources, request, series, begun } = change;
  const { session, caches, proxy } = image;
  const { unprivilegedIds } = settings;
  const { signal } = context;
  return await blameProxy(proxy, async () => {
    if (begun !== undefined) {
      await addSources(session, image.facts, sources, series);
      return openBegunApt(begun, change, settings, context);
    }
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
    await apt.updateLists({ ...aptOptions(change, context), added: isOneGo ? added : [] });
    await caches.publish(sources).catch((error: unknown) => {
      // The next build fetches them again.
      context.log.warn('package lists not cached', { error });
    });
    return { apt, facts, state, freshState };
  });
}

/** The worker's apt that has planned the installation, with lists that are up to date. */
function openBegunApt(
  { planned, present }: NonNullable<Change['begun']>,
  { image }: Change,
  { unprivilegedIds }: BuildTools['settings'],
  { signal }: LimitedContext,
): OpenedApt {
  const { apt: worker, state, plan } = planned;
  for (const warning of planned.warnings) image.warn(warning);
  const apt = aptOutside({ inside: image.session, worker, state, plan, present, unprivilegedIds, signal });
  return { apt: image.use(apt), facts: image.facts, state, freshState: null };
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

/** The options of each call of an apt of this image. */
export function aptOptions(
  { image, size, sources, begun }: Change,
  { reporter, space, room, signal }: LimitedContext,
): UpdateOptions {
  const { session, proxy } = image;
  return {
    sources,
    proxyUrl: (begun === undefined && isInside(session) ? session.proxyUrl : undefined) ?? proxy.url,
    proxyFailures: () => proxy.failures,
    signal,
    onLog(line) {
      reporter.log(line);
      const growthBytes = parseInstalledSize(line);
      if (growthBytes === null) return;
      room.expectGrowth(growthBytes);
      space.expect(space.plan.beforeChange(size, growthBytes));
    },
    onWarning: (message) => image.warn(message),
    onProgress: ({ current, total, message }: AptProgress) => reporter.progress(current, total, message),
  };
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
