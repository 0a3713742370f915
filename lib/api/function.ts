import { createLog } from '../log.ts';
import { type Answer, respond } from './respond.ts';

/**
 * The two exports of a handler module, over a composition that is built by the first call and kept. A composition that
 * fails, such as for a fault in the configuration, fails this call and is tried again by the next.
 */
export function handlerModule<Event, Context extends Answer, Dependencies extends AsyncDisposable>(
  compose: () => Promise<Dependencies>,
  create: (dependencies: Dependencies) => (event: Event, context: Context) => unknown,
): { handler: (event: Event, context: Context) => Promise<unknown>; close: () => Promise<void> } {
  let composed: Promise<Dependencies> | undefined;
  return {
    handler: (event, context) =>
      respond(context, createLog(), async () => {
        composed ??= compose().catch((error: unknown) => {
          composed = undefined;
          throw error;
        });
        return await create(await composed)(event, context);
      }),
    async close() {
      const dependencies = await composed?.catch(() => undefined);
      composed = undefined;
      await dependencies?.[Symbol.asyncDispose]();
    },
  };
}
