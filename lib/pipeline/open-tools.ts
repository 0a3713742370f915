import type { Config } from '../config/load.ts';
import { createAptCache } from '../fetch/apt-cache.ts';
import { type ChosenGuest, chooseGuest } from '../guest/choose.ts';
import { createHttpClient } from '../http/client.ts';
import { createEgress } from '../http/egress.ts';
import type { Log } from '../log.ts';
import type { ChosenStores } from '../store/choose.ts';
import type { BuildTools } from './context.ts';
import { listsShare } from './open-image.ts';

type ToolGroups = Pick<
  Config,
  'egress' | 'folders' | 'guest' | 'http' | 'image' | 'limits' | 'packages' | 'provenance' | 'tools' | 'verification'
>;

export interface OpenToolsOptions {
  readonly settings: ToolGroups;
  readonly storeFor: ChosenStores['for'];
  readonly observer?: BuildTools['observer'];
  /** Name and version for servers, such as `imagebuilder/0.1.0`. */
  readonly userAgent: string;
  readonly log: Log;
}

/** Opens what all builds of a process share. The guest is chosen when the first of them asks for it. */
export async function openBuildTools(options: OpenToolsOptions): Promise<BuildTools & AsyncDisposable> {
  const { storeFor, userAgent, log, observer } = options;
  const { egress, folders, guest, http, image, limits, packages, provenance, tools, verification } = options.settings;
  await using opened = new AsyncDisposableStack();
  const client = opened.use(createHttpClient({ ...http, egress: createEgress(egress), userAgent }));
  const aptCache = await createAptCache({
    client,
    cacheDirectory: folders.cacheDirectory,
    cacheBytes: folders.aptCacheBytes * (1 - listsShare),
    observer,
  });
  let chosen: Promise<ChosenGuest> | undefined;
  const kept = opened.move();
  return {
    ...{ client, aptCache, storeFor, observer },
    settings: {
      ...{ ...folders, vmNetwork: guest.vmNetwork, ...image, ...limits },
      ...{ ...packages, ...provenance, ...tools, ...verification },
    },
    chooseGuest() {
      const host = { ...guest, ...tools };
      const vm = { ...host, cacheDirectory: folders.cacheDirectory };
      chosen ??= chooseGuest({ setting: guest.guest, directory: folders.workDirectory, vm, host, log }).catch(
        (error: unknown) => {
          chosen = undefined;
          throw error;
        },
      );
      return chosen;
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
