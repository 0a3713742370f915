/** What `promise` resolves to, unless one of the signals aborts before: then its reason is thrown. */
export async function orAborted<Value>(promise: Promise<Value>, signals: readonly AbortSignal[]): Promise<Value> {
  const either = AbortSignal.any([...signals]);
  either.throwIfAborted();
  return await new Promise<Value>((resolve, reject) => {
    const abort = () => reject(either.reason);
    either.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => either.removeEventListener('abort', abort));
  });
}
