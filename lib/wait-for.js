// @ts-check
import { setTimeout as timer } from 'node:timers/promises';

/**
 * Asks `done` every `pollMs` milliseconds until it returns true; false where it does not within `limitMs`.
 * @param {() => boolean | Promise<boolean>} done
 * @param {number} limitMs
 * @returns {Promise<boolean>}
 */
export async function waitFor(done, limitMs, pollMs = 5) {
  const until = performance.now() + limitMs;
  while (!(await done())) {
    if (performance.now() > until) return false;
    await timer(pollMs);
  }
  return true;
}
