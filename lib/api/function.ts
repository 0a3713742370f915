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
  /** The dependencies, and the one function made of them: it may remember things from call to call. */
  const make = async () => {
    const dependencies = await compose();
    return { dependencies, answer: create(dependencies) };
  };
  let made: ReturnType<typeof make> | undefined;
  const composition = () => {
    made ??= make().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
  return {
    handler: (event, context) =>
      respond(context, createLog(), async () => await (await composition()).answer(event, context)),
    async start() {
      await composition();
    },
    async close() {
      const opened = await made?.catch(() => undefined);
      made = undefined;
      await opened?.dependencies[Symbol.asyncDispose]();
    },
  };
}
