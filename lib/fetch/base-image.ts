import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { VerifiedBy } from '../api/event.ts';
import { ImageBuilderError } from '../errors.ts';
import type { HttpClient } from '../http/client.ts';
import { type CacheEntry, openCache } from './cache.ts';
import { chooseImage, type WantedFile } from './choose-image.ts';
import { download } from './download.ts';
import { assertNoneMissing, digestBeside, type ExpectedDigest, readListedDigests } from './expected-digest.ts';
import { tryMirrors } from './mirrors.ts';
import { type Probe, probe } from './probe.ts';
import { ownTurn, waitForTurn } from './turn.ts';
import { verificationOf } from './verification.ts';

export interface BaseImageOptions {
  /** Every URL of the request: the image, its mirrors, and files beside it. */
  readonly urlList: readonly string[];
  readonly wanted: WantedFile;
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
  /** Called before a download, which waits for it; `sizeBytes` is null where the server does not say. */
  readonly beforeDownload?: (sizeBytes: number | null) => Promise<void>;
  /** At most four times a second, and at the end. `totalBytes` is null where the server does not say. */
  readonly onProgress?: ((currentBytes: number, totalBytes: number | null) => void) | undefined;
  /** Called with news for users: a mirror that failed, a download that was resumed. */
  readonly onNotice?: (message: string) => void;
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
  /** The SHA256SUMS that names its digest; null when there is none. */
  readonly sha256sumsUrl: string | null;
}

const defaultPatienceMs = 10_000;

/**
 * Finds the base image among the URLs by content, and puts it into the work directory, from the cache where that has
 * the server's present content (see `isServed`). The signature of a SHA256SUMS (`.gpg`) is not checked: that would take
 * a keyring that the operator trusts.
 *
 * Throws `image.not_found` or `image.unsupported` when no URL is an image or several are different ones,
 * `image.checksum` when no mirror has the right content, and the errors of `download`.
 */
export async function fetchBaseImage(options: BaseImageOptions): Promise<BaseImage> {
  const { urlList, client, signal, workDirectory } = options;
  const onNotice = options.onNotice ?? (() => undefined);
  const probes = await Promise.all([...new Set(urlList)].map((url) => probe(url, client, signal)));
  const listed = await readListedDigests(probes, client, signal);
  const mirrors = chooseImage(probes, listed, options.wanted, onNotice);
  const expected = listed.get(mirrors[0].fileName) ?? (await digestBeside(mirrors, client, signal));
  if (expected === undefined) assertNoneMissing(probes);

  const cache = await openCache(join(options.cacheDirectory, 'images'), options.cacheBytes);
  const target = join(workDirectory, 'base-image');
  await rm(target, { force: true });

  /** The image for a build; null when it is not in the cache (any more). */
  async function take(entry: CacheEntry, fromCache: boolean): Promise<BaseImage | null> {
    if (!(await cache.linkTo(entry.sha256, target))) return null;
    const { sizeBytes, sha256, url } = entry;
    const verifiedBy = verificationOf(expected, entry.secure);
    return { path: target, sizeBytes, sha256, url, fromCache, verifiedBy, sha256sumsUrl: expected?.url ?? null };
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

  async function fromMirror({ url, sizeBytes, etag, lastModified }: Probe): Promise<BaseImage> {
    const recognisable = expected !== undefined || etag !== null || lastModified !== null;
    const onWait = () => onNotice('another build is downloading the base image; waiting for it');
    const { patienceMs = defaultPatienceMs } = options;
    // Only builds that want the same content of the URL wait for each other.
    const key = `${url} ${expected?.sha256 ?? ''}`;
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
      expectedSha256: expected?.sha256,
      onNotice,
      onProgress: options.onProgress,
    });
    const entry = { ...result, validatedAtMs: Date.now() };
    await cache.add(turn.partPath, entry);
    const image = await take(entry, false);
    if (image === null) {
      throw new ImageBuilderError('internal', 'the base image left the cache while it was put there');
    }
    await cache.evict();
    return image;
  }

  return (await fromCache()) ?? (await tryMirrors(mirrors, fromMirror, { signal, onNotice }));
}

/**
 * Makes the next build fetch a damaged image anew. An image that a SHA256SUMS names stays: it is as damaged on the
 * server.
 */
export async function forgetDamagedImage(
  { url, sha256sumsUrl }: BaseImage,
  { cacheDirectory, cacheBytes }: Pick<BaseImageOptions, 'cacheDirectory' | 'cacheBytes'>,
): Promise<void> {
  if (sha256sumsUrl !== null) return;
  const cache = await openCache(join(cacheDirectory, 'images'), cacheBytes);
  await cache.forget(url);
}

/**
 * Whether this URL still serves the content of the cached copy. Only a URL that has served the content gets it from the
 * cache: a digest alone is no claim, for anybody can write a SHA256SUMS that names somebody else's image. Where there
 * is a digest, it decides; otherwise the answer's origin, after redirects, and its validators of the file have to equal
 * those recorded with the copy, as in a conditional request.
 */
function isServed(entry: CacheEntry, now: Probe, expected: ExpectedDigest | undefined): boolean {
  if (now.sizeBytes !== null && now.sizeBytes !== entry.sizeBytes) return false;
  if (expected !== undefined) return entry.sha256 === expected.sha256;
  if (now.origin !== entry.origin || now.secure !== entry.secure) return false;
  if (now.etag !== null || entry.etag !== null) return now.etag === entry.etag;
  return now.lastModified !== null && now.lastModified === entry.lastModified;
}
