import type { StoredBuild } from './artifact.ts';
import { type ListOptions, mergeNewest, type StoredPage } from './listing.ts';
import type { Store } from './store.ts';

/** The builds in all stores of this configuration, as one list: a build of another kind may be in another store. */
export interface StoredBuilds {
  list(options: ListOptions): Promise<StoredPage>;
  describe(buildId: string, options: { readonly signal: AbortSignal }): Promise<StoredBuild | null>;
  /** As `Store.remove`, of all stores. */
  remove(buildId: string, options: { readonly signal: AbortSignal }): Promise<void>;
}

/** Whether there is more of the build than its log. */
const isMore = ({ state }: StoredBuild) => state !== 'log_only';

type Source = Pick<Store, 'isThere' | 'list' | 'describe' | 'remove'>;

export function openStoredBuilds(all: readonly Source[]): StoredBuilds {
  /** A cloud may have only one of the services that the configuration has stores for. */
  const storesOf = async (options: { readonly signal: AbortSignal }): Promise<readonly Source[]> => {
    if (all.length === 1) return all;
    const there = await Promise.all(all.map((store) => store.isThere(options)));
    const stores = all.filter((_, index) => there[index]);
    // A call of a store that is not there says why.
    return stores.length === 0 ? all : stores;
  };

  const describe: StoredBuilds['describe'] = async (buildId, options) => {
    const stores = await storesOf(options);
    const described = await Promise.all(stores.map((store) => store.describe(buildId, options)));
    const found = described.filter((build) => build !== null);
    // Stores may share the place of logs: each then has the log of a build whose files only one has.
    return found.find(({ image }) => image !== null) ?? found.find(isMore) ?? found[0] ?? null;
  };
  return {
    describe,
    async list(options) {
      const stores = await storesOf(options);
      const pages = await Promise.all(stores.map((store) => store.list(options)));
      const seen = new Set<string>();
      const unique = (builds: readonly StoredBuild[]) =>
        builds.filter(({ buildId }) => !seen.has(buildId) && seen.add(buildId));
      // Images and files first: a log that lies in the place of another store belongs to them.
      const more = pages.map(({ builds }) => unique(builds.filter(isMore)));
      const logs = pages.map(({ builds }) => unique(builds.filter((build) => !isMore(build))));
      const lists = pages.map(({ next }, index) => ({
        items: [...(more[index] ?? []), ...(logs[index] ?? [])],
        next,
      }));
      const { items, next } = mergeNewest(lists, options.limit);
      if (stores.length === 1) return { builds: items, next };
      const builds = await Promise.all(
        items.map(async (build) => {
          if (isMore(build)) return build;
          // The image of this log, or the files beside it, are on another page.
          return (await describe(build.buildId, options))?.state === build.state ? build : null;
        }),
      );
      return { builds: builds.filter((build) => build !== null), next };
    },
    async remove(buildId, options) {
      for (const store of await storesOf(options)) await store.remove(buildId, options);
    },
  };
}
