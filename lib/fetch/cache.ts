import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import {
  chmod,
  copyFile,
  type FileHandle,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { isNodeError } from '../errors.ts';
import { makeOwnFolder } from '../folders/private-folder.ts';
import { lock } from '../lock.ts';

/**
 * A cache of downloaded files, shared by parallel builds and processes of one user; others cannot enter it. Content is
 * found by the URL that has served it, never by its digest alone: builds share the cache, and a digest is no secret.
 *
 *     blobs/<sha256>           the content, read-only
 *     urls/<sha256 of URL>     JSON: what the URL served, with its validators
 *     parts/                   downloads under way; what dead ones left is swept after a day, or as `openCache` is told
 *     locks/                   one flock per 1/4096 of the keys, so that their number is bounded
 *
 * Everything appears by rename, so a reader sees all of a file or none. Users take a hard link (across file systems a
 * reflink or copy) or an open file, so dropping an entry never takes a file from under a build.
 *
 * Content is hashed once, on its way in. A blob's time of modification is then set to `intactTime`: any later write,
 * also by a build through its hard link, moves that time, and the blob is dropped at its next use. Hashing a base image
 * anew at every hit would cost a second or more of each build and find only errors of the disk.
 */
export interface FileCache {
  /** The URL's content as it was last fetched, if it is still here. */
  find(url: string): Promise<CacheEntry | null>;
  /**
   * Puts the content at `target`, a path that does not exist. False when it is not here (any more), or, with `linkOnly`, where
   * the file system there takes no hard link to it.
   */
  linkTo(sha256: string, target: string, options?: { readonly linkOnly?: boolean }): Promise<boolean>;
  /** The content opened for reading; null when it is not here (any more). */
  open(sha256: string): Promise<FileHandle | null>;
  /** A path under `parts/`: always the same for the same key, a fresh one without. */
  partPath(key?: string): string;
  /**
   * Moves the file at `partPath` into the cache; its digest and size are the entry's. Records that the entry's URL
   * served it.
   */
  add(partPath: string, entry: CacheEntry): Promise<void>;
  /** Records that a URL serves this content, which is here already. */
  record(entry: CacheEntry): Promise<void>;
  /** Forgets the content of the URL. */
  forget(url: string): Promise<void>;
  /** Drops the content, whatever has served it. */
  drop(sha256: string): Promise<void>;
  /** Holds the lock of `key` until disposed. */
  lock(key: string, signal: AbortSignal): Promise<AsyncDisposable>;
  /** Bytes that all content takes on the disk. */
  usedBytes(): Promise<number>;
  /** Drops the least recently used entries until the size limit holds, and sweeps leftovers. */
  evict(): Promise<void>;
  /**
   * Drops the least recently used entries that are not in use until `bytes` more are free, and returns how many were
   * freed.
   */
  makeRoom(bytes: number): Promise<number>;
}

export const CacheEntry = z.object({
  url: z.string(),
  /** Lower-case hexadecimal. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** Where they are known, since a list of checksums named them. */
  sha384: z.string().optional(),
  sha512: z.string().optional(),
  sizeBytes: z.int().nonnegative(),
  etag: z.string().nullable(),
  lastModified: z.string().nullable(),
  /** Where the answer came from, after redirects: scheme, host and port. */
  origin: z.string(),
  /** True when the URL and every redirect from it were https. */
  secure: z.boolean(),
  /** True when a build has read all of it as an image, and found no damage. */
  isSound: z.boolean().optional(),
  /** When the URL was last known to serve this content: milliseconds since 1970. */
  validatedAtMs: z.number(),
});
export type CacheEntry = z.infer<typeof CacheEntry>;

/** The entry as it lies on the disk: without the URL, since a query may be a signature. */
const StoredEntry = CacheEntry.omit({ url: true });
type StoredEntry = z.infer<typeof StoredEntry>;

/** Time of modification of a blob that no process has written to: seconds since 1970. */
const intactTime = 1;
/** A download may be continued for so long. */
const downloadAgeMs = 24 * 60 * 60 * 1000;

/**
 * Opens (and creates) the cache in `directory`, whose content stays below `maximumBytes`. `leftoverAgeMs`: age at which an
 * unfinished file that nobody writes to is swept.
 */
export async function openCache(
  directory: string,
  maximumBytes: number,
  leftoverAgeMs = downloadAgeMs,
): Promise<FileCache> {
  const folder = (name: string) => join(directory, name);
  await makeOwnFolder(directory);
  for (const name of ['blobs', 'urls', 'parts']) await mkdir(folder(name), { recursive: true });
  const blobPath = (sha256: string) => join(folder('blobs'), sha256);
  const urlPath = (url: string) => join(folder('urls'), digest(url));
  const partPath = (key: string = randomUUID()) => join(folder('parts'), digest(key));

  /** Size of the blob if it is there and intact; it then counts as just used. */
  async function use(sha256: string): Promise<number | null> {
    const found = await orNull(stat(blobPath(sha256)));
    if (found === null) return null;
    if (found.mtimeMs !== intactTime * 1000) {
      await drop(sha256);
      return null;
    }
    await orNull(utimes(blobPath(sha256), Date.now() / 1000, intactTime));
    return found.size;
  }

  async function drop(sha256: string): Promise<void> {
    await rm(blobPath(sha256), { force: true });
  }

  async function record(entry: CacheEntry): Promise<void> {
    const part = partPath();
    await writeFile(part, JSON.stringify(StoredEntry.parse(entry)));
    await rename(part, urlPath(entry.url));
  }

  async function removeUnusedUrls(): Promise<void> {
    const blobs = new Set(await readdir(folder('blobs')));
    for (const name of await readdir(folder('urls'))) {
      const entry = await readEntry(join(folder('urls'), name));
      if (entry === null || !blobs.has(entry.sha256)) await rm(join(folder('urls'), name), { force: true });
    }
  }

  async function leastRecentlyUsedFirst() {
    const names = await readdir(folder('blobs'));
    const found = await Promise.all(names.map(async (name) => ({ name, stats: await orNull(stat(blobPath(name))) })));
    return found
      .flatMap(({ name, stats }) =>
        // A build that uses it has a link of its own.
        stats === null ? [] : [{ name, sizeBytes: storedBytes(stats), usedMs: stats.atimeMs, inUse: stats.nlink > 1 }],
      )
      .sort((one, other) => one.usedMs - other.usedMs);
  }

  const usedBytes = async () => sumOf(await leastRecentlyUsedFirst());

  async function sweepParts(): Promise<void> {
    for (const name of await readdir(folder('parts'))) {
      const path = join(folder('parts'), name);
      const found = await orNull(stat(path));
      if (found === null) continue;
      // One that `add` is about to move has the time of blobs already.
      const changedMs = found.mtimeMs === intactTime * 1000 ? found.ctimeMs : found.mtimeMs;
      if (Date.now() - changedMs > leftoverAgeMs) await rm(path, { force: true });
    }
  }

  return {
    partPath,
    record,
    drop,
    async find(url) {
      const entry = await readEntry(urlPath(url));
      return entry !== null && (await use(entry.sha256)) === entry.sizeBytes ? { ...entry, url } : null;
    },
    forget: (url) => rm(urlPath(url), { force: true }),
    async linkTo(sha256, target, { linkOnly = false } = {}) {
      if ((await use(sha256)) === null) return false;
      try {
        await link(blobPath(sha256), target);
      } catch (error) {
        if (isNodeError(error) && error.code === 'ENOENT') return false;
        // EXDEV: another file system. EPERM, EMLINK, ENOTSUP: a file system that cannot make this hard link.
        if (!isNodeError(error) || !['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP'].includes(error.code ?? '')) throw error;
        if (linkOnly) return false;
        return (await orNull(copyFile(blobPath(sha256), target, constants.COPYFILE_FICLONE))) !== null;
      }
      return true;
    },
    async open(sha256) {
      return (await use(sha256)) === null ? null : orNull(open(blobPath(sha256), 'r'));
    },
    async add(path, entry) {
      await chmod(path, 0o444);
      await utimes(path, Date.now() / 1000, intactTime);
      // The record first: a record without its content is no entry, while content without a record would not be found.
      await record(entry);
      await rename(path, blobPath(entry.sha256));
    },
    lock: (key, signal) => lock(join(folder('locks'), digest(key).slice(0, 3)), { signal }),
    usedBytes,
    async evict() {
      await sweepParts();
      // To take the lock starts a process, and nearly every build finds nothing to drop.
      if ((await usedBytes()) <= maximumBytes) return;
      await using _ = await lock(join(folder('locks'), 'evict'));
      const blobs = await leastRecentlyUsedFirst();
      let total = sumOf(blobs);
      for (const { name, sizeBytes } of blobs) {
        if (total <= maximumBytes) break;
        await drop(name);
        total -= sizeBytes;
      }
      await removeUnusedUrls();
    },
    async makeRoom(bytes) {
      await using _ = await lock(join(folder('locks'), 'evict'));
      let freedBytes = 0;
      for (const { name, sizeBytes, inUse } of await leastRecentlyUsedFirst()) {
        if (freedBytes >= bytes) break;
        if (inUse) continue;
        await drop(name);
        freedBytes += sizeBytes;
      }
      if (freedBytes > 0) await removeUnusedUrls();
      return freedBytes;
    },
  };
}

const sumOf = (blobs: readonly { readonly sizeBytes: number }[]) =>
  blobs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);

/** Bytes that a file takes on the disk, but for the rest of its last block: its holes take nothing. */
const storedBytes = ({ size, blocks }: { readonly size: number; readonly blocks: number }) =>
  Math.min(size, blocks * 512);

const digest = (text: string) => createHash('sha256').update(text).digest('hex');

/** An index file that is missing or damaged is no entry: the next download writes it anew. */
async function readEntry(path: string): Promise<StoredEntry | null> {
  const text = await orNull(readFile(path, 'utf8'));
  if (text === null) return null;
  try {
    return StoredEntry.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** The result, or null where the file is not there: another process may drop it at any time. */
async function orNull<Result>(promise: Promise<Result>): Promise<Result | null> {
  try {
    return await promise;
  } catch (error) {
    if (isNodeError(error) && error.code === 'ENOENT') return null;
    throw error;
  }
}
