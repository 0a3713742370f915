/**
 * What several pieces of work resolve with that are done at the same time. Where one fails the others are aborted, and
 * have ended before its error is thrown.
 */
export async function together<Values extends readonly unknown[]>(
  signal: AbortSignal,
  begin: (signal: AbortSignal) => { readonly [Index in keyof Values]: Promise<Values[Index]> },
): Promise<Values> {
  const failed = new AbortController();
  const running: readonly Promise<unknown>[] = begin(AbortSignal.any([signal, failed.signal]));
  try {
    return (await Promise.all(running)) as unknown as Values;
  } catch (error) {
    failed.abort(error);
    await Promise.allSettled(running);
    throw error;
  }
}
