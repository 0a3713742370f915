import { isTerminal } from '#lib/api/event.ts';
import type { StoreSettings } from '#lib/config/store.ts';
import type { Log } from '#lib/log.ts';
import type { LiveLedger } from '#lib/queue/live-ledger.ts';
import type { ChosenStores } from '#lib/store/choose.ts';
import { openRetention, type Retention } from '#lib/store/file/open-retention.ts';

export interface FileRetentionOptions extends Pick<StoreSettings, 'fileStoreBytes' | 'fileStoreAgeSeconds'> {
  /** The folder of the file store: clouds without Swift have logs there too. */
  readonly storeDirectory: string;
  readonly isGone: ChosenStores['isGone'];
  readonly ledger: Pick<LiveLedger, 'get' | 'ready'>;
  readonly log: Log;
}

/** The retention of the file store, for a first time as soon as it is known which builds run. */
export function openFileRetention(options: FileRetentionOptions): Retention {
  const { storeDirectory, isGone, ledger, fileStoreBytes, fileStoreAgeSeconds, log } = options;
  const retention = openRetention({
    ...{ directory: storeDirectory, isGone, log },
    maximumBytes: fileStoreBytes,
    maximumAgeMs: fileStoreAgeSeconds === null ? null : fileStoreAgeSeconds * 1000,
    isUnfinished(buildId) {
      const build = ledger.get(buildId);
      return build !== undefined && !isTerminal(build.state);
    },
  });
  ledger.ready().then(
    () => retention.apply(),
    // The first build that ends applies it.
    () => {},
  );
  return retention;
}
