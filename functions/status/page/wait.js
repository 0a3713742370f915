/** Waiting, as long as the view is open that wants it. */

/**
 * Waits, and no longer once the browser says that it is online again.
 *
 * @param {number} ms
 * @param {AbortSignal} closed
 */
export function pause(ms, closed) {
  const timeout = AbortSignal.timeout(ms);
  return firstOf([
    [timeout, 'abort'],
    [closed, 'abort'],
    [window, 'online'],
  ]);
}

/**
 * Waits until the page can be seen.
 *
 * @param {AbortSignal} closed
 */
export async function untilVisible(closed) {
  while (document.hidden && !closed.aborted)
    await firstOf([
      [document, 'visibilitychange'],
      [closed, 'abort'],
    ]);
}

/** @param {readonly (readonly [EventTarget, string])[]} events */
async function firstOf(events) {
  const { promise, resolve } = Promise.withResolvers();
  for (const [target, name] of events) target.addEventListener(name, resolve, { once: true });
  await promise;
  for (const [target, name] of events) target.removeEventListener(name, resolve);
}
