import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ImageBuilderError } from '../errors.ts';
import { type CacheEntry, type FileCache, openCache } from './cache.ts';
import { parseChecksums } from './checksums.ts';
import { chooseImage } from './choose-image.ts';
import type { HttpClient } from './client.ts';
import { download } from './download.ts';
import { type FailedProbe, type Probe, probe } from './probe.ts';

export interface BaseImageOptions {
  /** Every URL of the request: the image and its mirrors, and whatever stands beside it. */
  readonly urlList: readonly string[];
  readonly client: HttpClient;
  /** Images are cached in its folder `images`. */
  readonly cacheDirectory: string;
  /** Size that the cache of images is to stay below. */
  readonly cacheBytes: number;
  /** Largest image that is downloaded. */
  readonly maximumBytes: number;
  /** An existing folder of this build alone; best on the cache's file system, where the image costs no copy. */
  readonly workDirectory: string;
  readonly signal: AbortSignal;
  /** Called before a download, which waits for it; `sizeBytes` is null where the server does not tell. */
  readonly beforeDownload?: (sizeBytes: number | null) => Promise<void>;
  /** At most four times a second, and at the end. `totalBytes` is null where the server does not tell. */
  readonly onProgress?: ((currentBytes: number, totalBytes: number | null) => void) | undefined;
  /** Told of what users should know: a mirror that failed, a download that was resumed, an image without a digest. */
  readonly onNotice?: (message: string) => void;
}

export interface BaseImage {
  /** In the work directory; read-only, and shared with the cache: change it through an overlay. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Lower-case hexadecimal. */
  readonly sha256: string;
  /** The URL of `urlList` that it came from; for an image from the cache, the first that serves it. */
  readonly url: string;
  readonly fromCache: boolean;
  /** What vouches for the content; null when nothing does. */
  readonly verifiedBy: 'SHA256SUMS' | null;
}

const maximumChecksumBytes = 4 * 1024 * 1024;

/**
 * Finds the base image among the URLs by content, and puts it into the work directory, from the cache where that has
 * what the server has: by digest when a SHA256SUMS (in the list, or beside the image) names one, otherwise when the
 * server's entity tag or modification time, and size, are those recorded with the cached copy. The signature of a
 * SHA256SUMS (`.gpg`) is not checked: that takes a keyring that the operator trusts.
 *
 * Throws `image.not_found` or `image.unsupported` when no URL is an image or several are different ones, `image.checksum`
 * when no mirror has the right content, and whatever `download` throws.
 */
export async function fetchBaseImage(options: BaseImageOptions): Promise<BaseImage> {
  const { urlList, client, signal, workDirectory } = options;
  const onNotice = options.onNotice ?? (() => undefined);
  const probes = await Promise.all([...new Set(urlList)].map((url) => probe(url, client, signal)));
  const listed = await readListedChecksums(probes, client, signal);
  const mirrors = chooseImage(probes, listed, onNotice);
  const expectedSha256 = listed.get(mirrors[0].fileName) ?? (await checksumBeside(mirrors, client, signal));
  if (expectedSha256 === undefined) {
    assertNoneMissing(probes);
    onNotice('no SHA256SUMS names the base image: its content is not verified');
  }

  const cache = await openCache(join(options.cacheDirectory, 'images'), options.cacheBytes);
  const target = join(workDirectory, 'base-image');
  await rm(target, { force: true });
  const verifiedBy = expectedSha256 === undefined ? null : 'SHA256SUMS';

  async function fromCache(): Promise<BaseImage | null> {
    const entry = await findCached(cache, mirrors, expectedSha256);
    if (entry === null || !(await cache.linkTo(entry.sha256, target))) return null;
    options.onProgress?.(entry.sizeBytes, entry.sizeBytes);
    return {
      path: target,
      sizeBytes: entry.sizeBytes,
      sha256: entry.sha256,
      url: entry.url,
      fromCache: true,
      verifiedBy,
    };
  }

  const cached = await fromCache();
  if (cached !== null) return cached;
  // Parallel builds of one image: the first downloads, the others wait here and find it in the cache.
  const key = expectedSha256 ?? mirrors[0].url;
  await using _ = await lockWithNotice(cache, key, signal, onNotice);
  const cachedMeanwhile = await fromCache();
  if (cachedMeanwhile !== null) return cachedMeanwhile;

  await options.beforeDownload?.(mirrors[0].sizeBytes);
  const partPath = cache.partPath(key);
  const result = await download({
    urls: mirrors.map(({ url }) => url),
    partPath,
    client,
    signal,
    maximumBytes: options.maximumBytes,
    expectedSha256,
    onNotice,
    onProgress: options.onProgress,
  });
  await cache.add(partPath, { ...result, validatedAtMs: Date.now() });
  if (!(await cache.linkTo(result.sha256, target))) {
    throw new ImageBuilderError('internal', 'the base image left the cache while it was put there');
  }
  await cache.evict();
  const { sizeBytes, sha256, url } = result;
  return { path: target, sizeBytes, sha256, url, fromCache: false, verifiedBy };
}

/**
 * Lets go of an image that has proved to be damaged, so that the next build fetches it anew. One that a SHA256SUMS
 * vouches for stays: its server has it so.
 */
export async function forgetDamagedImage(
  { sha256, verifiedBy }: BaseImage,
  { cacheDirectory, cacheBytes }: Pick<BaseImageOptions, 'cacheDirectory' | 'cacheBytes'>,
): Promise<void> {
  if (verifiedBy !== null) return;
  const cache = await openCache(join(cacheDirectory, 'images'), cacheBytes);
  await cache.drop(sha256);
}

/** The digests of every SHA256SUMS in the list, the first that names a file deciding. */
async function readListedChecksums(
  probes: readonly (Probe | FailedProbe)[],
  client: HttpClient,
  signal: AbortSignal,
): Promise<Map<string, string>> {
  const digests = new Map<string, string>();
  for (const found of probes) {
    if ('error' in found || found.kind.role !== 'checksums') continue;
    const { text } = await client.getText(found.url, { maximumBytes: maximumChecksumBytes, signal });
    for (const [name, digest] of parseChecksums(text)) if (!digests.has(name)) digests.set(name, digest);
  }
  return digests;
}

/** Who lists a SHA256SUMS wants the image verified by it: without it, the image is not taken. */
function assertNoneMissing(probes: readonly (Probe | FailedProbe)[]): void {
  for (const found of probes) {
    if ('error' in found && found.fileName === 'SHA256SUMS') throw found.error;
  }
}

/** The digest in a SHA256SUMS in the folder of one of the mirrors. That there is none, or it cannot be had, is fine. */
async function checksumBeside(
  mirrors: readonly Probe[],
  client: HttpClient,
  signal: AbortSignal,
): Promise<string | undefined> {
  for (const { url, fileName } of mirrors) {
    try {
      const { text } = await client.getText(new URL('SHA256SUMS', url), {
        maximumBytes: maximumChecksumBytes,
        signal,
      });
      const digest = parseChecksums(text).get(fileName);
      if (digest !== undefined) return digest;
    } catch {
      signal.throwIfAborted();
    }
  }
  return undefined;
}

/** A cached copy of what the mirrors serve now. */
async function findCached(
  cache: FileCache,
  mirrors: readonly [Probe, ...Probe[]],
  expectedSha256: string | undefined,
): Promise<Pick<CacheEntry, 'url' | 'sha256' | 'sizeBytes'> | null> {
  if (expectedSha256 !== undefined) {
    const sizeBytes = await cache.sizeOf(expectedSha256);
    return sizeBytes === null ? null : { url: mirrors[0].url, sha256: expectedSha256, sizeBytes };
  }
  for (const mirror of mirrors) {
    const entry = await cache.find(mirror.url);
    if (entry !== null && isCurrent(entry, mirror)) return entry;
  }
  return null;
}

/** What a conditional request would tell; the probe's answer has told it already. */
function isCurrent(entry: CacheEntry, mirror: Probe): boolean {
  if (mirror.sizeBytes !== null && mirror.sizeBytes !== entry.sizeBytes) return false;
  if (mirror.etag !== null || entry.etag !== null) return mirror.etag === entry.etag;
  return mirror.lastModified !== null && mirror.lastModified === entry.lastModified;
}

async function lockWithNotice(
  cache: FileCache,
  key: string,
  signal: AbortSignal,
  onNotice: (message: string) => void,
): Promise<AsyncDisposable> {
  const waiting = new AbortController();
  void sleep(1000, undefined, { signal: waiting.signal }).then(
    () => onNotice('another build is downloading the base image; waiting for it'),
    () => undefined,
  );
  try {
    return await cache.lock(key, signal);
  } finally {
    waiting.abort();
  }
}
