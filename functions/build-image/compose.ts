import { createCallers } from '#lib/callers.ts';
import { loadConfig } from '#lib/config/load.ts';
import { createLog } from '#lib/log.ts';
import { openBroker, reviveEveryMs } from '#lib/queue/broker.ts';
import { openTracer } from '#lib/trace/tracer.ts';
import { createWake } from '#lib/worker/wake.ts';
import type { BuildImageDependencies } from './build-image.ts';

/** Builds everything the function needs, from the environment. */
export async function compose(): Promise<BuildImageDependencies & AsyncDisposable> {
  const config = loadConfig(process.env, 'build-image');
  const log = createLog({ ...config.log, fields: { function: 'build-image' } });
  const { secrets } = config.log;
  const tracer = await openTracer({ ...config.tracing, service: 'imagebuilder-build-image', secrets, log });
  const broker = await openBroker({ ...config.broker, reviveEveryMs, name: 'imagebuilder build-image', log });
  const wake = createWake({ ...config.wake, log });
  return {
    broker,
    log,
    callers: createCallers(config.callers),
    publicUrl: config.api.publicUrl,
    storeDirectory: config.folders.storeDirectory,
    wake: wake.send,
    tracer,
    async [Symbol.asyncDispose]() {
      await wake[Symbol.asyncDispose]();
      await broker[Symbol.asyncDispose]();
      await tracer[Symbol.asyncDispose]();
    },
  };
}
