/** Number of parallel calls without a body. */
export const parallelCalls = 8;

/** Runs `action` on all items, `limit` at a time; the first failure aborts the others, and is thrown when they ended. */
export async function inParallel<Item>(
  items: readonly Item[],
  limit: number,
  signal: AbortSignal,
  action: (item: Item, index: number, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  const rest = items.entries();
  const work = async () => {
    for (const [index, item] of rest) {
      either.throwIfAborted();
      await action(item, index, either);
    }
  };
  const working = Array.from({ length: Math.min(limit, items.length) }, () =>
    work().catch((error) => {
      failed.abort(error);
      throw error;
    }),
  );
  await Promise.allSettled(working);
  signal.throwIfAborted();
  failed.signal.throwIfAborted();
}
