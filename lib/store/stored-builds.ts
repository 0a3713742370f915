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

export function openStoredBuilds(stores: readonly Pick<Store, 'list' | 'describe' | 'remove'>[]): StoredBuilds {
  const describe: StoredBuilds['describe'] = async (buildId, options) => {
    const found = (await Promise.all(stores.map((store) => store.describe(buildId, options)))).filter(
      (build) => build !== null,
    );
    // Stores may share the place of logs: each then has the log of a build whose image only one has.
    return found.find(({ image }) => image !== null) ?? found[0] ?? null;
  };
  return {
    describe,
    async list(options) {
      const pages = await Promise.all(stores.map((store) => store.list(options)));
      const seen = new Set<string>();
      const unique = (builds: readonly StoredBuild[]) =>
        builds.filter(({ buildId }) => !seen.has(buildId) && seen.add(buildId));
      // Images first: a log that lies in the place of another store belongs to them.
      const images = pages.map(({ builds }) => unique(builds.filter(({ image }) => image !== null)));
      const logs = pages.map(({ builds }) => unique(builds.filter(({ image }) => image === null)));
      const lists = pages.map(({ next }, index) => ({
        items: [...(images[index] ?? []), ...(logs[index] ?? [])],
        next,
      }));
      const { items, next } = mergeNewest(lists, options.limit);
      if (stores.length === 1) return { builds: items, next };
      const builds = await Promise.all(
        items.map(async (build) => {
          if (build.image !== null) return build;
          // The image of this log is on another page.
          return (await describe(build.buildId, options))?.image === null ? build : null;
        }),
      );
      return { builds: builds.filter((build) => build !== null), next };
    },
    async remove(buildId, options) {
      for (const store of stores) await store.remove(buildId, options);
    },
  };
}
