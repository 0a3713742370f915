import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest, DigestAlgorithm } from '../checksums.ts';
import { ImageBuilderError, safeUrl } from '../errors.ts';
import type { VerifiedBy } from '../evidence.ts';
import type { HttpClient } from '../http/client.ts';
import { type CacheEntry, openCache } from './cache.ts';
import type { Mirrors } from './choose-image.ts';
import { download } from './download.ts';
import type { ExpectedDigests } from './expected-digest.ts';
import { tryMirrors } from './mirrors.ts';
import type { FetchObserver } from './observer.ts';
import type { Probe } from './probe.ts';
import { ownTurn, waitForTurn } from './turn.ts';
import { imagesFolder, limitUncompressedImages } from './uncompressed-images.ts';
import { assertVerified, verificationOf } from './verification.ts';

export interface FetchOptions {
  /** The least evidence that the operator demands. */
  readonly leastVerification?: VerifiedBy;
  readonly client: HttpClient;
  /** Images are cached in its folder `images`. */
  readonly cacheDirectory: string;
  /** The limit of the cache of images. */
  readonly cacheBytes: number;
  /** Largest image that is downloaded. */
  readonly maximumBytes: number;
  /** An existing folder that only this build uses; best on the cache's file system, where the image costs no copy. */
  readonly workDirectory: string;
  readonly signal: AbortSignal;
  /**
   * Time for which another build's download of the image may bring next to nothing before this one downloads it itself.
   */
  readonly patienceMs?: number;
  /**
   * Called before a download, which waits for it; `sizeBytes` is null where the server does not say. `partBytes` are those of
   * other files that are fetched with it.
   */
  readonly beforeDownload?: (sizeBytes: number | null, partBytes?: number) => Promise<void>;
  /** At most four times a second, and at the end. `totalBytes` is null where the server does not say. */
  readonly onProgress?: ((currentBytes: number, totalBytes: number | null) => void) | undefined;
  /** Called with news for users: a mirror that failed, a download that was resumed. */
  readonly onNotice?: (message: string) => void;
  readonly observer?: FetchObserver | undefined;
}

export interface BaseImage {
  /** In the work directory; read-only, and shared with the cache: change it through an overlay. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Lower-case hexadecimal. */
  readonly sha256: string;
  /** The URL of `urlList` that it came from, now or when it was put into the cache. */
  readonly url: string;
  readonly fromCache: boolean;
  readonly verifiedBy: VerifiedBy;
  /** The list of checksums that names its digest; null when there is none. */
  readonly checksumsUrl: string | null;
  /** The algorithms of the digests that were compared. */
  readonly checksumAlgorithms: readonly DigestAlgorithm[];
  /** Fingerprint of the key that signed the list; null where no such signature was checked. */
  readonly signedBy: string | null;
  /** True when a build has read all of it already, and found no damage. */
  readonly isSound: boolean;
}

const defaultPatienceMs = 10_000;

/**
 * Puts a file into the work directory, under this name, from the cache where that has the server's present content (see
 * `isServed`). It must have every digest that is expected of it. Throws `image.checksum` when no mirror has the right
 * content, `image.unverified` where the evidence does not suffice, and the errors of `download`.
 */
export async function fetchFile(
  mirrors: Mirrors,
  expected: ExpectedDigests | null,
  name: string,
  options: FetchOptions,
): Promise<BaseImage> {
  const { client, signal, workDirectory } = options;
  const onNotice = options.onNotice ?? (() => undefined);
  const least = options.leastVerification ?? 'unverified';
  const cache = await openCache(join(options.cacheDirectory, imagesFolder), options.cacheBytes);
  const target = join(workDirectory, name);
  await rm(target, { force: true });

  /** The image for a build; null when it is not in the cache (any more). */
  async function take(entry: CacheEntry, fromCache: boolean): Promise<BaseImage | null> {
    if (!(await cache.linkTo(entry.sha256, target))) return null;
    const { sizeBytes, sha256, url } = entry;
    const verifiedBy = verificationOf(expected, entry.secure);
    assertVerified(verifiedBy, least);
    return {
      ...{ path: target, sizeBytes, sha256, url, fromCache, verifiedBy },
      checksumsUrl: expected?.url ?? null,
      checksumAlgorithms: (expected?.digests ?? []).map(({ algorithm }) => algorithm),
      signedBy: expected?.signedBy ?? null,
      isSound: entry.isSound ?? false,
    };
  }

  async function fromCache(): Promise<BaseImage | null> {
    for (const mirror of mirrors) {
      const entry = await cache.find(mirror.url);
      const image = entry !== null && isServed(entry, mirror, expected) ? await take(entry, true) : null;
      if (image === null) continue;
      options.onProgress?.(image.sizeBytes, image.sizeBytes);
      return image;
    }
    return null;
  }

  async function fromMirror({ url, sizeBytes, etag, lastModified, secure }: Probe): Promise<BaseImage> {
    assertVerified(verificationOf(expected, secure), least);
    const recognisable = expected !== null || etag !== null || lastModified !== null;
    const onWait = () => onNotice('another build is downloading the base image; waiting for it');
    const { patienceMs = defaultPatienceMs } = options;
    // Only builds that want the same content of the URL wait for each other.
    const key = `${url} ${(expected?.digests ?? []).map(({ hex }) => hex).join(' ')}`;
    await using turn = recognisable ? await waitForTurn(cache, key, { signal, patienceMs, onWait }) : ownTurn(cache);
    const cachedMeanwhile = await fromCache();
    if (cachedMeanwhile !== null) return cachedMeanwhile;
    await options.beforeDownload?.(sizeBytes);
    const result = await download({
      url,
      partPath: turn.partPath,
      client,
      signal,
      maximumBytes: options.maximumBytes,
      expected: expected === null ? undefined : { digests: expected.digests, by: sourceOf(expected) },
      onNotice,
      onProgress: options.onProgress,
      onBytes: (bytes) => options.observer?.fetched('images', bytes),
    });
    const { digests, ...served } = result;
    const entry = { ...served, ...byAlgorithm(digests), validatedAtMs: Date.now() };
    await cache.add(turn.partPath, entry);
    const image = await take(entry, false);
    if (image === null) {
      throw new ImageBuilderError('internal', 'the base image left the cache while it was put there');
    }
    await cache.evict();
    await limitUncompressedImages(options);
    return image;
  }

  const image = (await fromCache()) ?? (await tryMirrors(mirrors, fromMirror, { signal, onNotice }));
  options.observer?.wanted('images', image.fromCache);
  return image;
}

/**
 * Makes the next build fetch a damaged image anew. An image whose digest was named stays: it is as damaged on
 * the server.
 */
export async function forgetDamagedImage(
  { url, checksumAlgorithms }: BaseImage,
  { cacheDirectory, cacheBytes }: Pick<FetchOptions, 'cacheDirectory' | 'cacheBytes'>,
): Promise<void> {
  if (checksumAlgorithms.length > 0) return;
  const cache = await openCache(join(cacheDirectory, imagesFolder), cacheBytes);
  await cache.forget(url);
}

/** Spares later builds the reading of an image without damage, as long as the cache has it. */
export async function recordSoundImage(
  { url, sha256 }: Pick<BaseImage, 'url' | 'sha256'>,
  { cacheDirectory, cacheBytes }: Pick<FetchOptions, 'cacheDirectory' | 'cacheBytes'>,
): Promise<void> {
  const cache = await openCache(join(cacheDirectory, imagesFolder), cacheBytes);
  const entry = await cache.find(url);
  if (entry?.sha256 === sha256) await cache.record({ ...entry, isSound: true });
}

/**
 * Whether this URL still serves the content of the cached copy. Only a URL that has served the content gets it from the
 * cache: a digest alone is no claim, for anybody can write a list that names somebody else's image. Where there
 * is a digest, it decides; otherwise the answer's origin, after redirects, and its validators of the file have to equal
 * those recorded with the copy, as in a conditional request.
 */
function isServed(entry: CacheEntry, now: Probe, expected: ExpectedDigests | null): boolean {
  if (now.sizeBytes !== null && now.sizeBytes !== entry.sizeBytes) return false;
  if (expected !== null) return expected.digests.every(({ algorithm, hex }) => entry[algorithm] === hex);
  if (now.origin !== entry.origin || now.secure !== entry.secure) return false;
  if (now.etag !== null || entry.etag !== null) return now.etag === entry.etag;
  return now.lastModified !== null && now.lastModified === entry.lastModified;
}

function byAlgorithm(digests: readonly Digest[]): Partial<Record<DigestAlgorithm, string>> {
  return Object.fromEntries(digests.map(({ algorithm, hex }) => [algorithm, hex]));
}

function sourceOf({ url }: ExpectedDigests): string {
  return url === null ? 'the request' : safeUrl(url);
}
