import type { Config } from '../config.ts';
import { createAptCache } from '../fetch/apt-cache.ts';
import { type ChosenGuest, chooseGuest } from '../guest/choose.ts';
import { createHttpClient } from '../http/client.ts';
import { egressOf } from '../http/egress.ts';
import type { Log } from '../log.ts';
import type { Store } from '../store/store.ts';
import type { BuildTools } from './context.ts';
import { listsShare } from './open-image.ts';

export interface OpenToolsOptions {
  readonly settings: Config;
  readonly store: Store;
  /** Name and version for servers, such as `imagebuilder/0.1.0`. */
  readonly userAgent: string;
  readonly log: Log;
}

/** Opens what all builds of a process share. The guest is chosen when the first of them asks for it. */
export async function openBuildTools(options: OpenToolsOptions): Promise<BuildTools & AsyncDisposable> {
  const { settings, store, userAgent, log } = options;
  await using opened = new AsyncDisposableStack();
  const client = opened.use(
    createHttpClient({
      egress: egressOf(settings),
      connectTimeoutMs: settings.connectTimeoutMs,
      stallTimeoutMs: settings.stallTimeoutMs,
      userAgent,
    }),
  );
  const aptCache = await createAptCache({
    client,
    cacheDirectory: settings.cacheDirectory,
    cacheBytes: settings.aptCacheBytes * (1 - listsShare),
  });
  let chosen: Promise<ChosenGuest> | undefined;
  const kept = opened.move();
  return {
    ...{ client, aptCache, store, settings },
    chooseGuest() {
      const { guest, workDirectory: directory } = settings;
      chosen ??= chooseGuest({ setting: guest, directory, vm: settings, host: settings, log }).catch(
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
