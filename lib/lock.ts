import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { onAbort } from './async.ts';
import { ImageBuilderError, isNodeError } from './errors.ts';
import { cannotOpen, type Holder, startHolder, takeHolder } from './lock-holder.ts';

/**
 * Locks between processes, as well as within one: the kernel's flock on a file or folder. The kernel frees it when this
 * process dies, in whatever way, because the helper that holds it ends with its standard input.
 */

/** Exit code that we have flock(1) use when another process holds the lock. */
const heldByAnother = '75';

/**
 * Takes the lock on `path` (created, with its folder, when missing) and holds it until disposed. Waits without limit
 * unless `signal` aborts, then throws its reason; a later abort does not free the lock.
 */
export async function lock(
  path: string,
  options: { readonly shared?: boolean; readonly signal?: AbortSignal } = {},
): Promise<AsyncDisposable> {
  options.signal?.throwIfAborted();
  await makeLockFile(path);
  const held = await take(path, options.shared === true ? '--shared' : '--exclusive', options);
  if (held === null) throw new ImageBuilderError('tool.failed', `cannot lock ${path}`);
  return held;
}

/** The lock on `path`, or null where another process holds it at the moment. */
export async function tryLock(path: string): Promise<AsyncDisposable | null> {
  await makeLockFile(path);
  return await take(path, notWaiting);
}

/**
 * Makes the file where it is missing. A process that can open a file can lock it, so only this user may open this one.
 */
async function makeLockFile(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  try {
    const file = await open(path, 'a', 0o600);
    try {
      const { mode, uid } = await file.stat();
      if ((mode & 0o077) !== 0 && uid === process.geteuid?.()) await file.chmod(0o600);
    } finally {
      await file.close();
    }
  } catch (error) {
    // A folder can be locked too.
    if (!isNodeError(error) || error.code !== 'EISDIR') throw error;
  }
}

/** The lock on a folder, or null where another process holds it at the moment or there is no such folder (any more). */
export async function tryLockFolder(path: string): Promise<AsyncDisposable | null> {
  // Locks the folder by its entry `.`: flock would create a file where the folder is missing.
  return await take(`${path}/.`, notWaiting, { orGone: true });
}

const notWaiting = ['--exclusive', '--nonblock', '--conflict-exit-code', heldByAnother].join(' ');

async function take(
  path: string,
  how: string,
  { signal, orGone = false }: { readonly signal?: AbortSignal | undefined; readonly orGone?: boolean } = {},
): Promise<AsyncDisposable | null> {
  // An abort since the call would not be noticed any more.
  signal?.throwIfAborted();
  if (path.includes('\n')) throw new ImageBuilderError('tool.failed', 'a path with a line break cannot be locked');
  let holder = takeHolder();
  let code = await ask(holder, how, path, signal);
  if (code === null && signal?.aborted !== true) {
    // It may have been killed while nobody used it.
    holder = startHolder();
    code = await ask(holder, how, path, signal);
  }
  const release = async () => {
    if (code === '0') await holder.free();
    holder.giveBack();
  };
  if (code === '0' && signal?.aborted !== true) return { [Symbol.asyncDispose]: release };
  await release();
  signal?.throwIfAborted();
  if (code === heldByAnother || (orGone && code === cannotOpen)) return null;
  throw new ImageBuilderError(
    'tool.failed',
    `cannot lock ${path}: flock (util-linux) ${code === null ? 'was killed' : `ended with ${code}`}`,
  );
}

/** The signal ends the wait only: a lock that is held protects the clean-up after an abort too. */
async function ask(holder: Holder, how: string, path: string, signal: AbortSignal | undefined): Promise<string | null> {
  using _listener = onAbort(signal, holder.kill);
  return await holder.ask(how, path);
}
