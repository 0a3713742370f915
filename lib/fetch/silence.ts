import { UpstreamError } from '../http/upstream-error.ts';

/**
 * Remembers servers that stayed silent, or nearly so, through all attempts. Waiting for one takes minutes, and apt asks
 * it for file after file, and for each a second time.
 */
export interface SilenceMemory {
  /**
   * Calls `ask`, which asks the server. Throws the server's last error instead, where the server was silent less than
   * `stallTimeoutMs` ago: waiting once more would take that long.
   */
  watch<Result>(url: URL, ask: () => Promise<Result>): Promise<Result>;
  /** Notes the error by which a server's answer broke off after it had begun. */
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
