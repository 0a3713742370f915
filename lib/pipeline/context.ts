import type { Config } from '../config.ts';
import type { AptCache } from '../fetch/apt-cache.ts';
import type { HttpClient } from '../fetch/client.ts';
import type { ChosenGuest } from '../guest/choose.ts';
import type { DiskSpace } from '../limits/disk-space.ts';
import type { OutputLimit } from '../limits/output-limit.ts';
import type { Log } from '../log.ts';
import type { Store } from '../store/store.ts';
import type { BuildReporter } from './reporter.ts';

/** What all builds of a process share. */
export interface BuildTools {
  readonly client: HttpClient;
  readonly aptCache: AptCache;
  /** How images are opened here, and why so. Tried once per process. */
  readonly chooseGuest: () => Promise<ChosenGuest>;
  readonly store: Store;
  readonly settings: Pick<
    Config,
    | 'workDirectory'
    | 'cacheDirectory'
    | 'storeDirectory'
    | 'imageCacheBytes'
    | 'aptCacheBytes'
    | 'maximumDownloadBytes'
    | 'maximumVirtualBytes'
    | 'maximumPackages'
    | 'maximumLogBytes'
    | 'diskReserveBytes'
    | 'compression'
    | 'installRecommends'
    | 'launchpadApiUrl'
    | 'ppaUrl'
    | 'unprivilegedIds'
  >;
}

/** What one attempt at a build has to itself. */
export interface BuildContext {
  /** Aborted, with the reason, when the build has to end. */
  readonly signal: AbortSignal;
  readonly reporter: BuildReporter;
  readonly log: Log;
}

/** The same with what holds the attempt to its limits; the signal is aborted by those, too. */
export interface LimitedContext extends BuildContext {
  readonly space: DiskSpace;
  readonly output: OutputLimit;
}
