/** Sees how the caches do. Neither call may throw. */
export interface FetchObserver {
  /** A file was wanted. `hit`: the cache had it, so that no content came from a server. */
  wanted(cache: CacheName, hit: boolean): void;
  /** Content came from a server. */
  fetched(cache: CacheName, bytes: number): void;
}

export type CacheName = 'images' | 'packages';
