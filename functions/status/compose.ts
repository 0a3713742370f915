import { createCallers } from '#lib/callers.ts';
import { loadConfig } from '#lib/config/load.ts';
import { createLog } from '#lib/log.ts';
import { openBroker } from '#lib/queue/broker.ts';
import type { StatusDependencies } from './status.ts';

/** Builds everything the function needs, from the environment. */
export async function compose(): Promise<StatusDependencies & AsyncDisposable> {
  const config = loadConfig(process.env, 'status');
  const log = createLog({ ...config.log, fields: { function: 'status' } });
  const broker = await openBroker({ ...config.broker, name: 'imagebuilder status', log });
  return {
    broker,
    log,
    callers: createCallers(config.callers),
    publicUrl: config.api.publicUrl,
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}
