import { chmod, chown } from 'node:fs/promises';
import { type IdRange, newUnprivilegedUser, type UnprivilegedUser } from '../../privileges.ts';
import { closedFolder, endProcesses } from '../../unprivileged.ts';

/** Whom the worker's own apt runs as, in the work directory of a build. */
export interface WorkerPlace extends AsyncDisposable {
  /** Null for the worker's own user. */
  readonly user: UnprivilegedUser | null;
  /** Ends all that runs as that user: its files change no more. */
  end(): Promise<void>;
}

/**
 * Lets a user of its own through `workDirectory`, which is the worker's: it finds what it knows the name of, and nobody
 * else does. Where the folders above let nobody through, apt stays the worker's user, without capabilities.
 */
export async function openWorkerPlace(workDirectory: string, range: IdRange): Promise<WorkerPlace> {
  const user = (await closedFolder(workDirectory)) === null ? newUnprivilegedUser(range) : null;
  const end = () => endProcesses(user);
  if (user !== null) {
    await chown(workDirectory, process.geteuid?.() ?? 0, user.id);
    await chmod(workDirectory, 0o710);
  }
  return {
    user,
    end,
    async [Symbol.asyncDispose]() {
      await end();
      if (user !== null) await chmod(workDirectory, 0o700);
    },
  };
}
