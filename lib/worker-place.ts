import { chmod, chown } from 'node:fs/promises';
import { type IdRange, newUnprivilegedUser, type UnprivilegedUser } from './privileges.ts';
import { closedFolder, endProcesses, giveTo } from './unprivileged.ts';

/** The user that the worker's own apt runs as, in the work directory of a build. */
export interface WorkerPlace extends AsyncDisposable {
  /** Null for the worker's own user. */
  readonly user: UnprivilegedUser | null;
  /**
   * Gives files to that user, with the promises of `giveTo`. Without capabilities, root too can write only what it owns: a
   * guest may have given it to the root inside.
   */
  give(path: string): Promise<void>;
  /** Ends all processes of that user: its files change no more. */
  end(): Promise<void>;
}

/**
 * Gives apt's own user access through `workDirectory`, which is the worker's: it reaches paths that it knows, and no
 * other user does. Where that user could not pass the folders above, apt runs as the worker's user, without
 * capabilities.
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
    give: (path) => giveTo(user ?? (process.geteuid?.() === 0 ? { id: 0, groups: [] } : null), path),
    end,
    async [Symbol.asyncDispose]() {
      await end();
      if (user !== null) await chmod(workDirectory, 0o700);
    },
  };
}
