import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { HttpClient } from '../http/client.ts';
import { UpstreamError } from '../http/upstream-error.ts';
import { type CacheEntry, openCache } from './cache.ts';
import { type AptObject, type Flight, startFlight } from './flight.ts';
import type { FetchObserver } from './observer.ts';
import type { SilenceMemory } from './silence.ts';

/**
 * Caches apt's files for all builds and processes; parallel builds of one process that want the same object share one
 * download of it. Make one per process. Only this module writes to the cache, and only content from the server that the
 * URL names, so programs inside an image can put nothing there.
 */
export interface AptCache {
  /** Opens the object at `url`. Throws as `download` does, with `upstream.status` for 404. */
  open(url: string, options: AptObjectOptions): Promise<AptObject>;
  /** Drops the least recently used files until the size limit holds. Costs nothing when nothing has come in since. */
  evict(): Promise<void>;
}

export interface AptObjectOptions {
  readonly signal: AbortSignal;
  /** Have the server send it again, even if it is cached: a server may vouch for a file that it sent by mistake. */
  readonly anew: boolean;
  /**
   * The memory of the build that asks. Another build may reach a server that was silent for this one, since its URLs
   * may lead elsewhere.
   */
  readonly silence: SilenceMemory;
}

export interface AptCacheOptions {
  readonly client: HttpClient;
  /** Objects are cached in its folder `packages`. */
  readonly cacheDirectory: string;
  readonly cacheBytes: number;
  /** Time for which a package is served without asking the server. Default one hour. */
  readonly revalidateAfterMs?: number;
  readonly observer?: FetchObserver | undefined;
}

/**
 * When the server is asked whether a cached object is still what it serves:
 *
 * - `never`: files under `by-hash/SHA256` or `SHA512` are named by their own digest, which is verified before they are
 *   published in the cache.
 * - `rarely`: packages in a pool. Debian's and Ubuntu's archives and Launchpad's PPAs never change a file under a name
 *   once used, but hand-made repositories do. An hour keeps the packages of one round of builds free of requests, and
 *   a changed one at most that long; apt checks the digest of each in any case. When the server is down, the cached
 *   package is served, for the same reason.
 * - `always`: everything else, such as InRelease and the Packages of repositories without by-hash: one conditional
 *   request each.
 */
type Validity = 'never' | 'rarely' | 'always';

const byHash = /\/by-hash\/(SHA256|SHA512)\/([0-9a-f]{64}|[0-9a-f]{128})$/;
const packageFile = /\.(deb|udeb|ddeb)$/;
const hourMs = 60 * 60 * 1000;
/** Eviction looks at every file, so in the midst of builds it waits until a twentieth of the cache's size has come in. */
const evictionShare = 0.05;

/** Opens (and creates) apt's cache. */
export async function createAptCache(options: AptCacheOptions): Promise<AptCache> {
  const { client, cacheBytes, revalidateAfterMs = hourMs, observer } = options;
  const cache = await openCache(join(options.cacheDirectory, 'packages'), cacheBytes);
  const flights = new Map<string, Flight>();
  let addedBytes = 0;

  async function publish(entry: CacheEntry, partPath: string): Promise<void> {
    await cache.add(partPath, entry);
    addedBytes += entry.sizeBytes;
    if (addedBytes > cacheBytes * evictionShare) await evict();
  }

  async function evict(): Promise<void> {
    if (addedBytes === 0) return;
    addedBytes = 0;
    await cache.evict();
  }

  function flightTo(url: string, known: CacheEntry | null): Flight {
    // Only requests that know the same copy can share an answer of "not modified".
    const key = `${known?.sha256 ?? ''} ${url}`;
    const underWay = flights.get(key);
    if (underWay !== undefined) return underWay;
    const digest = byHash.exec(new URL(url).pathname);
    const flight: Flight = startFlight({
      url,
      client,
      partPath: cache.partPath(),
      conditions: conditionsOf(known),
      onBytes: (bytes) => observer?.fetched('packages', bytes),
      async onArrival(download, partPath, digestOf) {
        const validators = download.etag !== null || download.lastModified !== null;
        const genuine =
          digest === null ? validators : (await digestOf(digest[1] === 'SHA256' ? 'sha256' : 'sha512')) === digest[2];
        if (genuine) await publish({ ...download, validatedAtMs: Date.now() }, partPath);
      },
      onEnd() {
        if (flights.get(key) === flight) flights.delete(key);
      },
    });
    flights.set(key, flight);
    return flight;
  }

  async function openCached(entry: CacheEntry): Promise<AptObject | null> {
    const file = await cache.open(entry.sha256);
    return file === null ? null : cachedObject(file, entry);
  }

  return {
    async open(url, options) {
      const object = await open(url, options);
      observer?.wanted('packages', object.source === 'cache');
      return object;
    },
    evict,
  };

  async function open(url: string, { signal, anew, silence }: AptObjectOptions): Promise<AptObject> {
    const fetched = (known: CacheEntry | null) => silence.watch(new URL(url), () => flightTo(url, known).join(signal));
    const validity = validityOf(new URL(url).pathname);
    const entry = anew ? null : await cache.find(url);
    const ageMs = Date.now() - (entry?.validatedAtMs ?? 0);
    const fresh = validity === 'never' || (validity === 'rarely' && ageMs < revalidateAfterMs);
    const cached = entry === null ? null : await openCached(entry);
    if (entry === null || cached === null) return await fetched(null);
    if (fresh) return cached;
    try {
      const object = await fetched(entry);
      await cached[Symbol.asyncDispose]();
      return object;
    } catch (error) {
      const unchanged = error instanceof UpstreamError && error.upstreamStatus === 304;
      if (unchanged) await cache.record({ ...entry, validatedAtMs: Date.now() });
      if (unchanged || (validity === 'rarely' && error instanceof UpstreamError && error.transient)) return cached;
      await cached[Symbol.asyncDispose]();
      throw error;
    }
  }
}

function validityOf(path: string): Validity {
  if (byHash.test(path)) return 'never';
  return packageFile.test(path) ? 'rarely' : 'always';
}

function conditionsOf(entry: CacheEntry | null): Record<string, string> {
  if (entry?.etag != null) return { 'if-none-match': entry.etag };
  return entry?.lastModified != null ? { 'if-modified-since': entry.lastModified } : {};
}

function cachedObject(file: FileHandle, entry: CacheEntry): AptObject {
  const { etag, lastModified, sizeBytes } = entry;
  return {
    source: 'cache',
    etag,
    lastModified,
    sizeBytes,
    read(start, end) {
      if (start >= end) return nothing();
      return file.createReadStream({ start, end: end - 1, autoClose: false });
    },
    [Symbol.asyncDispose]: () => file.close(),
  };
}

async function* nothing(): AsyncGenerator<Buffer, void> {}
