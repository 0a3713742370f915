import { createCallers } from '#lib/callers.ts';
import { loadConfig } from '#lib/config.ts';
import { createLog } from '#lib/log.ts';
import { openBroker } from '#lib/queue/broker.ts';
import type { StatusDependencies } from './status.ts';

/** Builds everything the function needs, from the environment. */
export async function compose(): Promise<StatusDependencies & AsyncDisposable> {
  const config = loadConfig();
  const log = createLog({ level: config.logLevel, fields: { function: 'status' }, secrets: config.secrets });
  const broker = await openBroker({ ...config, name: 'imagebuilder status', log });
  return {
    broker,
    log,
    callers: createCallers(config),
    publicUrl: config.publicUrl,
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}
