import type { BuildRequest } from '../api/request.ts';
import type { ImageFacts } from '../apt/facts.ts';
import { assertHoldable } from '../apt/hold.ts';
import type { InstallOptions } from '../apt/install.ts';
import { parseInstalledSize } from '../apt/installed-size.ts';
import type { PpaSource } from '../apt/launchpad.ts';
import type { InstallPlan } from '../apt/plan.ts';
import type { UpdateOptions } from '../apt/update.ts';
import { ImageBuilderError } from '../errors.ts';
import type { AptProxy } from '../fetch/apt-proxy.ts';
import type { BaseSize } from '../limits/space-plan.ts';
import type { BuildTools, LimitedContext } from './context.ts';

/** How one apt is used for a build. */
export interface AptUse {
  readonly sources: readonly PpaSource[];
  readonly proxy: AptProxy;
  /** Its address for that apt. */
  readonly proxyUrl: string;
  readonly size: BaseSize;
  /** Takes news for the result. */
  readonly warn: (message: string) => void;
}

type AptContext = Pick<LimitedContext, 'reporter' | 'space' | 'room' | 'signal'>;

/** The options of each call of an apt. */
export function aptOptions({ size, sources, proxy, proxyUrl, warn }: AptUse, context: AptContext): UpdateOptions {
  const { reporter, space, room, signal } = context;
  return {
    ...{ sources, proxyUrl, proxyFailures: () => proxy.failures, signal },
    onLog(line) {
      reporter.log(line);
      const growthBytes = parseInstalledSize(line);
      if (growthBytes === null) return;
      room.expectGrowth(growthBytes);
      space.expect(space.plan.beforeChange(size, growthBytes));
    },
    onWarning: warn,
    onProgress: ({ current, total, message }) => reporter.progress(current, total, message),
  };
}

/** How one apt installs packages for a build: the limits of the image and of the request. */
export interface InstallUse extends AptUse {
  /** The image before it. */
  readonly facts: ImageFacts;
  readonly request: Pick<BuildRequest, 'allow_downgrades' | 'hold_packages'>;
}

/** The options of an installation, whose plan is checked before anything is downloaded. */
export function installOptions(
  { facts, request, ...use }: InstallUse,
  { installRecommends, maximumPackages }: Pick<BuildTools['settings'], 'installRecommends' | 'maximumPackages'>,
  context: AptContext,
): InstallOptions & UpdateOptions {
  return {
    ...aptOptions(use, context),
    recommends: installRecommends,
    allowDowngrades: request.allow_downgrades,
    onPlan(plan) {
      assertPackageCount(plan, maximumPackages);
      assertHoldable(request.hold_packages, facts, plan);
      context.room.expectFiles(plan);
    },
  };
}

function assertPackageCount({ install }: InstallPlan, maximumPackages: number): void {
  if (install.length <= maximumPackages) return;
  throw new ImageBuilderError(
    'guest.limit',
    `${install.length} packages would be installed or upgraded, dependencies included; IMAGEBUILDER_MAXIMUM_PACKAGES allows ${maximumPackages}`,
  );
}
