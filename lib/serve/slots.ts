/** A number of places, each held by one call at a time; the `max_inflight` of a function. */
export interface Slots {
  /** Whether every place is taken. */
  readonly full: boolean;
  /** Takes a place if one is free. The result gives it back, once. */
  tryTake(): (() => void) | undefined;
  /** Waits for a place, first come first served; rejects with the signal's reason. */
  take(signal: AbortSignal): Promise<() => void>;
}

/** @param count How many places there are; undefined: no limit. */
export function createSlots(count: number | undefined): Slots {
  let free = count ?? Number.POSITIVE_INFINITY;
  const waiting: (() => void)[] = [];
  const hold = () => {
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const next = waiting.shift();
      // The place goes directly to the call that has waited longest.
      if (next === undefined) free += 1;
      else next();
    };
  };
  const tryTake = () => {
    if (free < 1) return undefined;
    free -= 1;
    return hold();
  };
  return {
    get full() {
      return free < 1;
    },
    tryTake,
    async take(signal) {
      signal.throwIfAborted();
      const taken = tryTake();
      if (taken !== undefined) return taken;
      return await new Promise((resolve, reject) => {
        const give = () => {
          signal.removeEventListener('abort', abort);
          resolve(hold());
        };
        const abort = () => {
          waiting.splice(waiting.indexOf(give), 1);
          reject(signal.reason);
        };
        waiting.push(give);
        signal.addEventListener('abort', abort, { once: true });
      });
    },
  };
}
