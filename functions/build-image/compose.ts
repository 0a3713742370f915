import { createCallers } from '#lib/callers.ts';
import { loadConfig } from '#lib/config.ts';
import { createLog } from '#lib/log.ts';
import { openBroker } from '#lib/queue/broker.ts';
import { createWake } from '#lib/worker/wake.ts';
import type { BuildImageDependencies } from './build-image.ts';

/** Builds everything the function needs, from the environment. */
export async function compose(): Promise<BuildImageDependencies & AsyncDisposable> {
  const config = loadConfig();
  const log = createLog({ level: config.logLevel, fields: { function: 'build-image' }, secrets: config.secrets });
  const broker = await openBroker({ ...config, name: 'imagebuilder build-image', log });
  const wake = createWake({ ...config, log });
  return {
    broker,
    log,
    callers: createCallers(config),
    publicUrl: config.publicUrl,
    wake: wake.send,
    async [Symbol.asyncDispose]() {
      await wake[Symbol.asyncDispose]();
      await broker[Symbol.asyncDispose]();
    },
  };
}
