// @ts-check
import { rmdir } from 'node:fs/promises';
import { waitFor } from '../../wait-for.js';

const limitMs = 5_000;

/**
 * Removes a cgroup whose processes are gone, for which the kernel may need a moment. Does nothing where it does not
 * exist.
 * @param {string} folder
 */
export async function removeGroup(folder) {
  await waitFor(async () => {
    try {
      await rmdir(folder);
      return true;
    } catch (error) {
      return !(error instanceof Error && 'code' in error && error.code === 'EBUSY');
    }
  }, limitMs);
}
