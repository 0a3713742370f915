import { createLog } from '../log.ts';
import { type Answer, respond } from './respond.ts';

/**
 * The three exports of a handler module, over a composition that is built when the function starts and kept. Where the
 * template has no `start`, the first call builds it: a composition that fails, such as for a fault in the configuration,
 * then fails this call and is tried again by the next.
 */
export function handlerModule<Event, Context extends Answer, Dependencies extends AsyncDisposable>(
  compose: () => Promise<Dependencies>,
  create: (dependencies: Dependencies) => (event: Event, context: Context) => unknown,
): {
  handler: (event: Event, context: Context) => Promise<unknown>;
  start: () => Promise<void>;
  close: () => Promise<void>;
} {
  let composed: Promise<Dependencies> | undefined;
  const composition = () => {
    composed ??= compose().catch((error: unknown) => {
      composed = undefined;
      throw error;
    });
    return composed;
  };
  return {
    handler: (event, context) =>
      respond(context, createLog(), async () => await create(await composition())(event, context)),
    async start() {
      await composition();
    },
    async close() {
      const dependencies = await composed?.catch(() => undefined);
      composed = undefined;
      await dependencies?.[Symbol.asyncDispose]();
    },
  };
}
