import type { Config } from '../config.ts';
import type { AptCache } from '../fetch/apt-cache.ts';
import type { HttpClient } from '../fetch/client.ts';
import type { Guest } from '../guest/guest.ts';
import type { Log } from '../log.ts';
import type { Store } from '../store/store.ts';
import type { Reporter } from './reporter.ts';

/** What all builds of a process share. */
export interface BuildTools {
  readonly client: HttpClient;
  readonly aptCache: AptCache;
  /** How images are opened here, and why so. Tried once per process. */
  readonly chooseGuest: () => Promise<{ readonly guest: Guest; readonly reason: string }>;
  readonly store: Store;
  readonly settings: Pick<
    Config,
    | 'workDirectory'
    | 'cacheDirectory'
    | 'imageCacheBytes'
    | 'aptCacheBytes'
    | 'maximumDownloadBytes'
    | 'maximumVirtualBytes'
    | 'compression'
    | 'installRecommends'
    | 'launchpadApiUrl'
    | 'ppaUrl'
  >;
}

/** What one attempt at a build has to itself. */
export interface BuildContext {
  /** Aborted, with the reason, when the build has to end. */
  readonly signal: AbortSignal;
  readonly reporter: Reporter;
  readonly log: Log;
}
