import { existsSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { HandlerModule } from './function.ts';

/** Imports a handler module. Throws an Error that names the file and says what is wrong with it. */
export async function loadHandler(file: string): Promise<HandlerModule> {
  if (!existsSync(file)) throw new Error(`there is no handler file ${file}`);
  const module: unknown = await import(pathToFileURL(file).href).catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the handler ${file} failed while it was being loaded: ${reason}`, { cause });
  });
  if (!isHandlerModule(module)) {
    throw new Error(
      `the handler ${file} must export a function as default, and may export functions named start and close`,
    );
  }
  return module;
}

function isHandlerModule(module: unknown): module is HandlerModule {
  const { default: handler, start, close } = module as Partial<Record<keyof HandlerModule, unknown>>;
  return (
    typeof handler === 'function' && [start, close].every((each) => ['undefined', 'function'].includes(typeof each))
  );
}
