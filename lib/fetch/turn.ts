import { rm, stat } from 'node:fs/promises';
import { sleep } from '../async.ts';
import { isNodeError } from '../errors.ts';
import type { FileCache } from './cache.ts';

/** The right to download a file into the cache. Disposing it lets the next build have its turn. */
export interface Turn extends AsyncDisposable {
  /** Where the file is to grow. */
  readonly partPath: string;
}

export interface TurnOptions {
  readonly signal: AbortSignal;
  /** Over so long another's download has to bring `fairBytes`, or it is not waited for: milliseconds. */
  readonly patienceMs: number;
  /** Called once, when another's download is waited for. */
  readonly onWait: () => void;
}

/** Bytes that another's download has to bring within the patience: less is not worth waiting for. */
const fairBytes = 1024 * 1024;
/** A wait that is shorter than this is not worth a word: milliseconds. */
const noticeableMs = 1000;

/**
 * Waits while another build, of another process too, downloads the file of this key, so that it is downloaded once;
 * but only for as long as that comes on. Otherwise a build whose server drips, or one that holds the same lock for
 * another file, would hold up everybody: then this build downloads for itself, into a part of its own. A part under the
 * lock outlives its process, and the next to have the lock goes on with it.
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

/** A turn that needs no waiting, since nobody else can use what it brings, or nobody's download comes on. */
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
