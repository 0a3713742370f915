import { access, lstat, opendir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isNodeError } from '../../errors.ts';
import { tryLock } from '../../lock.ts';
import type { Log } from '../../log.ts';
import { imageFilesPrefix, readImageFolder } from '../glance/image-files.ts';
import { comparePositions, isBuildId, type Position } from '../listing.ts';
import { logsFolder } from '../logs.ts';
import { removeFolder } from './place.ts';
import { leftoverOf, recordNames, storedAtIn } from './records.ts';

/** Keeps the file store within a size and an age, by removing the oldest builds first. */

export interface RetentionOptions {
  /** The folder of the store. */
  readonly directory: string;
  /** Null, as for the age: no limit. */
  readonly maximumBytes: number | null;
  readonly maximumAgeMs: number | null;
  /** True for a build that has not ended: nothing of it is removed. */
  readonly isUnfinished: (buildId: string) => boolean;
  /** Whether an image is in Glance no more; null where that cannot be asked: no files beside images go then. */
  readonly isGone: ((imageId: string, options: { readonly signal: AbortSignal }) => Promise<boolean>) | null;
  readonly log: Log;
  readonly now?: () => number;
}

/** Time for which a build is kept after it was stored, whatever the limits: its caller learns of it in that time. */
const graceMs = 3_600_000;
/** Age of what an attempt or a deletion has left unfinished, after which nobody works on it any more. */
const leftoverAgeMs = 86_400_000;
/** Time limit of a question to Glance. */
const askMs = 30_000;

interface Entry extends Position {
  readonly path: string;
  /** The image in Glance that these files are beside; null for all other entries. */
  readonly imageId: string | null;
  /** That it takes on the disk. */
  readonly bytes: number;
}

/**
 * Removes builds that are too old, and then the oldest until the rest is small enough; builds with only a log too. Does
 * nothing while another worker does it. Throws Node's errors where the folder cannot be read; a build that cannot be
 * removed is a line in the log.
 */
export async function applyRetention(options: RetentionOptions): Promise<void> {
  const { directory, maximumBytes, maximumAgeMs, isUnfinished, log, now = Date.now } = options;
  if (maximumBytes === null && maximumAgeMs === null) return;
  // The lock would make the folder.
  await access(directory);
  await using held = await tryLock(join(directory, '.retention.lock'));
  if (held === null) return;
  const entries = await readEntries(options);
  let bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  const removable = entries.filter(
    ({ buildId, storedAt }) => Date.parse(storedAt) < now() - graceMs && !isUnfinished(buildId),
  );
  for (const entry of removable.sort(comparePositions).reverse()) {
    const reason = reasonFor(entry, bytes);
    // All that follow are younger.
    if (reason === null) break;
    if (entry.imageId !== null && !(await isGone(entry.imageId, options))) continue;
    if (await remove(entry, reason, options)) bytes -= entry.bytes;
  }
  if (maximumBytes !== null && bytes > maximumBytes) {
    log.warn('the file store is larger than IMAGEBUILDER_STORE_SIZE, and nothing in it may be removed yet', { bytes });
  }

  function reasonFor({ storedAt }: Entry, allBytes: number): string | null {
    if (maximumAgeMs !== null && Date.parse(storedAt) < now() - maximumAgeMs) return 'age';
    return maximumBytes !== null && allBytes > maximumBytes ? 'size' : null;
  }
}

/** False where it cannot be asked. */
async function isGone(imageId: string, options: RetentionOptions): Promise<boolean> {
  try {
    return (await options.isGone?.(imageId, { signal: AbortSignal.timeout(askMs) })) ?? false;
  } catch (error) {
    options.log.warn('Glance does not say whether an image is there, so the files beside it are kept', {
      ...{ image_id: imageId, error },
    });
    return false;
  }
}

async function remove(entry: Entry, reason: string, { directory, log }: RetentionOptions): Promise<boolean> {
  const { buildId, storedAt, bytes, path } = entry;
  try {
    await removeFolder(directory, buildId, path);
    log.info('a build was removed from the file store', { build_id: buildId, reason, stored_at: storedAt, bytes });
    return true;
  } catch (error) {
    log.warn('a build cannot be removed from the file store', { build_id: buildId, reason, error });
    return false;
  }
}

/**
 * The builds of the store, and the logs of builds whose images are in Glance, and the files beside these. Removes what
 * dead workers have left of others on the way.
 */
async function readEntries(options: RetentionOptions): Promise<Entry[]> {
  const { directory, isUnfinished, now = Date.now } = options;
  const entries: Entry[] = [];
  const add = async (buildId: string, path: string, storedAt: string | null, imageId: string | null = null) => {
    if (storedAt !== null) entries.push({ buildId, path, storedAt, imageId, bytes: await bytesIn(path) });
  };
  for await (const { name } of await opendir(directory)) {
    const path = join(directory, name);
    if (isBuildId(name)) {
      await add(name, path, await storedAtIn(path, [recordNames.image, recordNames.log]));
      continue;
    }
    const buildId = leftoverOf(name);
    if (buildId === null || isUnfinished(buildId)) continue;
    const changedAtMs = (await lstat(path).catch(() => null))?.mtimeMs ?? now();
    if (changedAtMs < now() - leftoverAgeMs) await removeFolder(directory, buildId, path);
  }
  const logs = join(directory, logsFolder);
  for (const name of (await readdir(logs).catch(() => [])).filter(isBuildId)) {
    const path = join(logs, name);
    await add(name, path, await storedAtIn(path, [recordNames.others]));
  }
  const beside = join(directory, imageFilesPrefix);
  for (const name of await readdir(beside).catch(() => [])) {
    const path = join(beside, name);
    const { buildId, imageId } = readImageFolder(name) ?? {};
    if (buildId !== undefined) await add(buildId, path, await storedAtIn(path, [recordNames.others]), imageId);
  }
  return entries;
}

/** Bytes that the files of a folder take on the disk; a raw image has holes. */
async function bytesIn(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(folder).catch(() => [])) {
    try {
      bytes += (await lstat(join(folder, name))).blocks * 512;
    } catch (error) {
      // Somebody deletes the build at this moment.
      if (!isNodeError(error) || error.code !== 'ENOENT') throw error;
    }
  }
  return bytes;
}
