import { once } from 'node:events';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { HandlerModule } from './function.ts';
import { loadHandler } from './load.ts';
import { log } from './log.ts';
import { createFunctionServer, type FunctionServer } from './server.ts';
import { readSettings, type Settings } from './settings.ts';
import { clearLock, writeLock, writeLockInTime } from './watchdog.ts';

/**
 * The entry of a function: `node index.ts [HANDLER]` serves the handler module HANDLER, by default function/handler.ts
 * beside this file, over HTTP (settings.ts says where), until SIGTERM. Behind the watchdog it listens at once, and calls
 * that come before the handler is loaded wait for it.
 */

/** Exit code for a fault of the settings or the machine, which the handler has found before it could begin. */
const cannotStart = 2;

async function main(handlerFile: string): Promise<void> {
  const settings = readSettings(process.env);
  const { watchdog } = settings;
  if (watchdog !== undefined) await clearLock(watchdog);
  let module: HandlerModule | undefined;
  const loaded = Promise.withResolvers<HandlerModule>();
  const server = createFunctionServer(async (event, context) => {
    return (await loaded.promise).default(event, context);
  }, settings);
  const load = async () => {
    module = await loadHandler(handlerFile);
    try {
      await module.start?.();
    } catch (error) {
      fail(error, cannotStart);
    }
    loaded.resolve(module);
  };
  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stopping) return; // A second signal changes nothing: calls in flight still end in order.
      stopping = true;
      log('info', 'stopping', { signal });
      void stop(server, () => module, settings).catch((error: unknown) => fail(error));
    });
  }
  if (watchdog === undefined) {
    await load();
    if (!stopping) await listen(server, settings);
  } else {
    // Calls may come at any time: those that come early wait for the handler.
    await listen(server, settings);
    await using _inTime = writeLockInTime(watchdog);
    await load();
    if (!stopping) await writeLock(watchdog);
  }
  if (stopping) return;
  log('info', 'listening', { address: server.http.address(), handler: handlerFile });
}

async function listen({ http }: FunctionServer, settings: Settings): Promise<void> {
  http.listen(settings.listen);
  await once(http, 'listening');
}

async function stop(
  server: FunctionServer,
  module: () => HandlerModule | undefined,
  { watchdog }: Settings,
): Promise<never> {
  server.announceStop();
  if (watchdog !== undefined) await sleep(watchdog.stopDelayMs);
  await server.drain();
  await module()?.close?.();
  process.exit(0);
}

function fail(error: unknown, exitCode = 1): never {
  log('error', error instanceof Error ? error.message : String(error), { error });
  process.exit(exitCode);
}

process.on('uncaughtException', (error) => fail(error));
await main(resolve(process.argv[2] ?? `${import.meta.dirname}/function/handler.ts`)).catch((error: unknown) =>
  fail(error),
);
