import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { execa } from 'execa';
import { ImageBuilderError, isNodeError } from './errors.ts';

/**
 * Locks between processes, as well as within one: the kernel's flock on a file or folder. The kernel frees it when this
 * process dies, in whatever way, because the helper that holds it ends with its standard input.
 */

/** Exit code that we have flock(1) use when another process holds the lock. */
const heldByAnother = 75;
/** Exit code of flock(1) where it cannot open the path: EX_NOINPUT of sysexits.h. */
const cannotOpen = 66;

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
  const held = await take(path, [options.shared === true ? '--shared' : '--exclusive'], options);
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

const notWaiting = ['--exclusive', '--nonblock', '--conflict-exit-code', String(heldByAnother)];

async function take(
  path: string,
  how: readonly string[],
  { signal, orGone = false }: { readonly signal?: AbortSignal | undefined; readonly orGone?: boolean } = {},
): Promise<AsyncDisposable | null> {
  // An abort since the call would not be noticed any more.
  signal?.throwIfAborted();
  // One process from beginning to end: flock becomes the shell, which has the locked file open and starts nothing.
  const holder = execa('flock', ['--no-fork', ...how, path, 'sh', '-c', 'echo locked; read -r _'], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
    buffer: false,
    reject: false,
  });
  // The signal ends the wait only: a lock that is held protects the clean-up after an abort too.
  const onAbort = () => holder.kill('SIGTERM');
  signal?.addEventListener('abort', onAbort, { once: true });
  const locked = await new Promise<boolean>((resolve) => {
    holder.stdout.once('data', () => resolve(true));
    void holder.finally(() => resolve(false));
  });
  signal?.removeEventListener('abort', onAbort);
  const release = async () => {
    holder.stdin.end();
    await holder;
  };
  if (signal?.aborted === true) {
    await release();
    throw signal.reason;
  }
  if (locked) return { [Symbol.asyncDispose]: release };
  const { exitCode, originalMessage } = await holder;
  if (exitCode === heldByAnother || (orGone && exitCode === cannotOpen)) return null;
  throw new ImageBuilderError(
    'tool.failed',
    `cannot lock ${path}: flock (util-linux) ended with ${exitCode ?? originalMessage}`,
  );
}
