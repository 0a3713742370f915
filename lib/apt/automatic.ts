import type { ScriptRunner } from '../guest/guest.ts';
import { runScript } from './script.ts';

/**
 * The packages of an image that apt counts as installed automatically, for the sake of others; `name:architecture` for
 * those of foreign architectures. Throws as `runScript` does.
 */
export async function readAutomatic(runner: ScriptRunner): Promise<ReadonlySet<string>> {
  return new Set(await runScript(runner, 'automatic', { arguments: ['show'], timeoutMs: 120_000 }));
}

/** Has apt count packages as installed automatically. Throws as `runScript` does. */
export async function markAutomatic(runner: ScriptRunner, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const files = { names: `${names.join('\n')}\n` };
  await runScript(runner, 'automatic', { arguments: ['mark'], files, timeoutMs: 120_000 });
}
