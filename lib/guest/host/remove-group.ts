import { rmdir } from 'node:fs/promises';
import { waitFor } from '../../async.ts';
import { isNodeError } from '../../errors.ts';

const limitMs = 5_000;

/**
 * Removes a cgroup whose processes are gone, for which the kernel may need a moment. Does nothing where it does not
 * exist.
 */
export async function removeGroup(folder: string): Promise<void> {
  await waitFor(async () => {
    try {
      await rmdir(folder);
      return true;
    } catch (error) {
      return !isNodeError(error) || error.code !== 'EBUSY';
    }
  }, limitMs);
}
