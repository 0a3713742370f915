/**
 * Numbers of RabbitMQ that many calls want to know. However many calls there are, it is asked about once a second: a
 * call gets the numbers of the last second, or of the last three while newer ones are under way.
 */
export function createSample<Value>(ask: () => Promise<Value>): () => Promise<Value> {
  let last: { readonly value: Value; readonly atMs: number } | undefined;
  let asking: Promise<Value> | undefined;

  const askAgain = async () => {
    try {
      const value = await ask();
      last = { value, atMs: performance.now() };
      return value;
    } finally {
      asking = undefined;
    }
  };

  return async () => {
    const ageMs = last === undefined ? Number.POSITIVE_INFINITY : performance.now() - last.atMs;
    if (last !== undefined && ageMs < freshMs) return last.value;
    asking ??= askAgain();
    if (last === undefined || ageMs >= staleMs) return await asking;
    asking.catch(() => {});
    return last.value;
  };
}

const freshMs = 1_000;
const staleMs = 3_000;
