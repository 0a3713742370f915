import { once } from 'node:events';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { HandlerModule } from './function.ts';
import { loadHandler } from './load.ts';
import { log } from './log.ts';
import { createFunctionServer, type FunctionServer } from './server.ts';
import { readSettings, type Settings } from './settings.ts';

/**
 * The entry of a function: `node index.ts [HANDLER]` serves the handler module HANDLER, by default function/handler.ts
 * beside this file, over HTTP (settings.ts says where), until SIGTERM.
 */

/** Exit code for a fault of the settings or the machine, which the handler has found before it could begin. */
const cannotStart = 2;

async function main(handlerFile: string): Promise<void> {
  const settings = readSettings(process.env);
  const module = await loadHandler(handlerFile);
  try {
    await module.start?.();
  } catch (error) {
    fail(error, cannotStart);
  }
  const server = createFunctionServer(module.default, settings);
  server.http.listen(settings.listen);
  await once(server.http, 'listening');
  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stopping) return; // A second signal changes nothing: calls in flight still end in order.
      stopping = true;
      log('info', 'stopping', { signal });
      void stop(server, module, settings).catch((error: unknown) => fail(error));
    });
  }
  log('info', 'listening', { address: server.http.address(), handler: handlerFile });
}

async function stop(server: FunctionServer, module: HandlerModule, settings: Settings): Promise<never> {
  server.announceStop();
  await sleep(settings.stopDelayMs);
  await server.drain();
  await module.close?.();
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
