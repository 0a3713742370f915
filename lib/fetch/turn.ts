import { rm, stat } from 'node:fs/promises';
import { sleep } from '../async.ts';
import { isNodeError } from '../errors.ts';
import type { FileCache } from './cache.ts';

/** The right to download a file into the cache. Disposing it gives the next build its turn. */
export interface Turn extends AsyncDisposable {
  /** Path at which the file has to grow. */
  readonly partPath: string;
}

export interface TurnOptions {
  readonly signal: AbortSignal;
  /**
   * Milliseconds within which another build's download has to bring `fairBytes`; otherwise this build stops waiting.
   */
  readonly patienceMs: number;
  /** Called once, when the wait for another build's download begins. */
  readonly onWait: () => void;
}

/** Bytes that another build's download has to bring within the patience: fewer are not worth waiting for. */
const fairBytes = 1024 * 1024;
/** A shorter wait is not reported: milliseconds. */
const noticeableMs = 1000;

/**
 * Waits while another build, of another process too, downloads the file of this key, so that it is downloaded once; but
 * only for as long as that download advances. Otherwise a build whose server drips, or one that holds the same lock for
 * another file, would hold up all others: this build then downloads for itself, into a part of its own. A part under
 * the lock outlives its process, and the next holder of the lock goes on with it.
 */
export async function waitForTurn(cache: FileCache, key: string, options: TurnOptions): Promise<Turn> {
  const partPath = cache.partPath(key);
  const impatient = new AbortController();
  const taken = new AbortController();
  const watching = watch(partPath, options, taken.signal).then((stands) => {
    if (stands) impatient.abort();
  });
  try {
    const held = await cache.lock(key, AbortSignal.any([options.signal, impatient.signal]));
    return { partPath, [Symbol.asyncDispose]: () => held[Symbol.asyncDispose]() };
  } catch (error) {
    options.signal.throwIfAborted();
    if (!impatient.signal.aborted) throw error;
    return ownTurn(cache);
  } finally {
    taken.abort();
    await watching;
  }
}

/**
 * A turn that needs no waiting: either no other build can use this download, or no download of another build advances.
 */
export function ownTurn(cache: FileCache): Turn {
  const partPath = cache.partPath();
  return {
    partPath,
    async [Symbol.asyncDispose]() {
      for (const path of [partPath, `${partPath}.json`]) await rm(path, { force: true });
    },
  };
}

/** Resolves with true when the part does not grow as it should, with false when `signal` aborts. */
async function watch(partPath: string, { patienceMs, onWait }: TurnOptions, signal: AbortSignal): Promise<boolean> {
  try {
    const noticeMs = Math.min(noticeableMs, patienceMs);
    let bytes = await sizeOf(partPath);
    await sleep(noticeMs, signal);
    onWait();
    await sleep(patienceMs - noticeMs, signal);
    for (;;) {
      const newBytes = await sizeOf(partPath);
      if (newBytes - bytes < fairBytes) return true;
      bytes = newBytes;
      await sleep(patienceMs, signal);
    }
  } catch (error) {
    if (signal.aborted) return false;
    throw error;
  }
}

/** Zero where there is nothing (yet). */
async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (isNodeError(error) && error.code === 'ENOENT') return 0;
    throw error;
  }
}
