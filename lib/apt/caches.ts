import { lstat, mkdir, mkdtemp, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { digestOfKey } from '../fetch/own-file.ts';
import { makeOwnFolder } from '../folders/private-folder.ts';
import type { GuestBind } from '../guest/guest.ts';
import { lock } from '../lock.ts';
import type { PpaSource } from './launchpad.ts';
import { copyFiles, describeFiles, ignoreMissing, isListName, linkFiles, namesIn, takeFiles } from './list-files.ts';

/**
 * apt's own folders for one build. They are bound over those of the image, so that nothing that apt fetches lands in
 * it, and are filled with the package lists that earlier builds of the same base image fetched:
 *
 *     <cacheDirectory>/apt-lists/<sha256 of the base image>/   files as in /var/lib/apt/lists
 *     <cacheDirectory>/apt-lists/index-<sha256>/               an index, and `releases`, as scripts/update.sh leaves them
 *     <cacheDirectory>/apt-lists/lock                           shared while reading, exclusive while changing
 *
 * Lists are kept by base image, and only those of the base's own sources: apt inside the image wrote them, and files
 * that a hostile base or PPA puts there must reach no other base and no build without that PPA. The index that apt makes of all
 * lists takes half the time of an update. It is kept by base image, PPAs and apt: an index that the image's apt has made is never
 * read by the worker's.
 */
export interface AptCaches extends AsyncDisposable {
  /** The folder of the lists. */
  readonly lists: string;
  /** For `Guest.open`. */
  readonly binds: readonly GuestBind[];
  /**
   * A folder with the index of an earlier build, for `UpdateOptions.index` of the `apt` that is to update the lists: the image's or
   * the worker's. `sources` are the PPAs of this build. Call it once; without a call, no index is kept.
   */
  takeIndex(apt: 'inside' | 'outside', sources: readonly PpaSource[]): Promise<string>;
  /**
   * Keeps the lists, and a new index, for later builds. Call it after a successful update and before any package's scripts have run.
   * `sources` are the PPAs of this build, whose lists are left out.
   */
  publish(sources: readonly PpaSource[]): Promise<void>;
}

export interface AptCachesOptions {
  readonly cacheDirectory: string;
  /** Lists and indexes of all base images together; those used least recently are dropped first. */
  readonly cacheBytes: number;
  readonly baseImageSha256: string;
  /** A folder that only this build uses. */
  readonly workDirectory: string;
  readonly signal: AbortSignal;
}

/** The folder of apt's indexes in its cache (Dir::Cache::pkgcache, Dir::Cache::srcpkgcache). */
export const indexFolder = 'index';
/**
 * The index to keep. That of the image's apt is also about the packages that are installed, whose file has the same name and time in
 * each build; for the worker's apt it has another name each time.
 */
const keptFiles = { inside: 'pkgcache.bin', outside: 'srcpkgcache.bin' };
/** The file in which scripts/update.sh notes the Release files of a new index. */
const releasesFile = 'releases';

/** Age after which an unfinished publication has no publisher any more: milliseconds. */
const abandonedMs = 24 * 60 * 60 * 1000;

/** Makes the folders of a build and fills them from the cache. Disposing removes them. */
export async function openAptCaches(options: AptCachesOptions): Promise<AptCaches> {
  const { signal } = options;
  const root = join(options.cacheDirectory, 'apt-lists');
  const published = join(root, options.baseImageSha256);
  const scratch = await mkdtemp(join(options.workDirectory, 'apt-'));
  const lists = join(scratch, 'lists');
  const cache = join(scratch, 'cache');
  const index = join(cache, indexFolder);
  // Not in the cache, which the image's root changes at will.
  const earlier = join(scratch, 'earlier');
  try {
    // With the modes that dpkg gives them; apt gives the partial folders to its own user, _apt, where it has one.
    await mkdir(join(lists, 'partial'), { recursive: true, mode: 0o755 });
    await mkdir(join(cache, 'archives', 'partial'), { recursive: true, mode: 0o755 });
    await mkdir(index, { mode: 0o755 });
    await makeOwnFolder(root);
    await using _ = await lock(join(root, 'lock'), { shared: true, signal });
    await takeFiles(published, lists, signal);
    await utimes(published, new Date(), new Date()).catch(ignoreMissing);
  } catch (error) {
    await rm(scratch, { recursive: true, force: true });
    throw error;
  }
  let keptAs: { readonly folder: string; readonly file: string } | null = null;
  return {
    lists,
    binds: [
      { source: lists, target: '/var/lib/apt/lists' },
      { source: cache, target: '/var/cache/apt' },
    ],
    async takeIndex(apt, sources) {
      const urls = sources.map(({ url }) => url).sort();
      const folder = join(root, `index-${digestOfKey(JSON.stringify([apt, options.baseImageSha256, urls]))}`);
      keptAs = { folder, file: keptFiles[apt] };
      await using _ = await lock(join(root, 'lock'), { shared: true, signal });
      await mkdir(earlier, { mode: 0o755 });
      await linkFiles(folder, earlier);
      await utimes(folder, new Date(), new Date()).catch(ignoreMissing);
      return earlier;
    },
    async publish(sources) {
      const prefixes = sources.map((source) => comparable(`${source.url}/dists/`));
      const isOwn = (name: string) =>
        isListName(name) && !prefixes.some((prefix) => comparable(name).startsWith(prefix));
      await publishFiles({ ...options, root, published, from: lists, accept: isOwn });
      // The image's root may have put a link in place of the folder.
      const isFolder = (await lstat(index).catch(ignoreMissing))?.isDirectory() === true;
      if (keptAs === null || !isFolder || !(await readdir(index)).includes(releasesFile)) return;
      const { folder, file } = keptAs;
      const isIndex = (name: string) => name === file || name === releasesFile;
      await publishFiles({ ...options, root, published: folder, from: index, accept: isIndex });
    },
    [Symbol.asyncDispose]: () => rm(scratch, { recursive: true, force: true }),
  };
}

interface PublishOptions extends AptCachesOptions {
  readonly root: string;
  readonly published: string;
  readonly from: string;
  readonly accept: (name: string) => boolean;
}

async function publishFiles(options: PublishOptions): Promise<void> {
  const { root, published, from, accept, signal } = options;
  if (await isPublished(options)) return;
  const fresh = await mkdtemp(join(root, 'new-'));
  const old = `${fresh}.old`;
  try {
    if (!(await copyFiles(from, fresh, { signal, maximumBytes: options.cacheBytes, accept }))) return;
    await using _ = await lock(join(root, 'lock'), { signal });
    await rename(published, old).catch(ignoreMissing);
    await rename(fresh, published);
    await evict(root, options.cacheBytes);
  } finally {
    await rm(fresh, { recursive: true, force: true });
    await rm(old, { recursive: true, force: true });
  }
}

async function isPublished({ root, published, from, accept, signal }: PublishOptions): Promise<boolean> {
  await using _ = await lock(join(root, 'lock'), { shared: true, signal });
  return (await describeFiles(from, accept)) === (await describeFiles(published));
}

/** Drops the lists and indexes used least recently, and leftovers of publishers that died. */
async function evict(root: string, cacheBytes: number): Promise<void> {
  const entries = await Promise.all(
    (await readdir(root, { withFileTypes: true }))
      .filter((entry) => entry.isDirectory())
      .map(async ({ name }) => {
        const found = await stat(join(root, name)).catch(ignoreMissing);
        return { name, usedMs: found?.mtimeMs ?? 0, sizeBytes: await sizeOf(join(root, name)) };
      }),
  );
  let total = 0;
  for (const { name, usedMs, sizeBytes } of entries.sort((a, b) => b.usedMs - a.usedMs)) {
    if (name.startsWith('new-')) {
      if (Date.now() - usedMs > abandonedMs) await rm(join(root, name), { recursive: true, force: true });
      continue;
    }
    total += sizeBytes;
    if (total > cacheBytes) await rm(join(root, name), { recursive: true, force: true });
  }
}

async function sizeOf(folder: string): Promise<number> {
  const names = await namesIn(folder);
  const sizes = names.map(async (name) => (await lstat(join(folder, name)).catch(ignoreMissing))?.size ?? 0);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/**
 * How names of lists from a repository begin, compared by letters and digits alone: releases of apt differ in which
 * other characters they escape, and leaving out a list too many costs only time.
 */
function comparable(nameOrUrl: string): string {
  return nameOrUrl
    .replace(/^[a-z+]+:\/+/, '')
    .toLowerCase()
    .replace(/%[0-9a-f]{2}|[^a-z0-9]/g, '');
}
