import type { Status } from '#lib/api/status.ts';
import type { Overview } from '#lib/queue/overview.ts';

/**
 * Makes the bytes of an answer once for all calls that get the same. At hundreds of calls a second, texts made for each
 * of them would keep the garbage collector busy, whose pauses every caller feels.
 */
export function createEncoder(): (state: Omit<Status, keyof Overview>, overview: Overview) => Buffer {
  const made = new WeakMap<Overview, { readonly state: string; readonly bytes: Buffer }>();
  return (own, overview) => {
    const state = JSON.stringify(own);
    const known = made.get(overview);
    if (known?.state === state) return known.bytes;
    const bytes = Buffer.from(JSON.stringify({ ...own, ...overview } satisfies Status));
    made.set(overview, { state, bytes });
    return bytes;
  };
}
