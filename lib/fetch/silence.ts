import { UpstreamError } from './upstream-error.ts';

/**
 * Remembers servers that were silent, or all but, to the end of all attempts. Waiting for one takes minutes, and apt
 * has more to ask of it: file after file, and each a second time.
 */
export interface SilenceMemory {
  /**
   * Does what asks the server, unless that was silent within the time that waiting once more would take: then throws
   * what it threw then.
   */
  watch<Result>(url: URL, ask: () => Promise<Result>): Promise<Result>;
  /** Takes note of what a server's answer died of after it had begun. */
  note(url: URL, error: unknown): void;
}

/** Makes a memory that lasts for `stallTimeoutMs` from each silence. */
export function createSilenceMemory(stallTimeoutMs: number): SilenceMemory {
  const silences = new Map<string, { readonly error: UpstreamError; readonly untilMs: number }>();

  function note({ origin }: URL, error: unknown): void {
    if (!(error instanceof UpstreamError)) return;
    if (error.timedOut) silences.set(origin, { error, untilMs: performance.now() + stallTimeoutMs });
    else silences.delete(origin);
  }

  return {
    note,
    async watch(url, ask) {
      const known = silences.get(url.origin);
      if (known !== undefined && performance.now() < known.untilMs) throw known.error;
      try {
        const result = await ask();
        silences.delete(url.origin);
        return result;
      } catch (error) {
        note(url, error);
        throw error;
      }
    },
  };
}
