import { join } from 'node:path';
import type { GuestScript, ScriptRunner } from '../../guest/guest.ts';
import { readShellScripts } from '../../shell-scripts.ts';

/**
 * The scripts of this folder, which run inside images as those of lib/apt/scripts do; `records` is included by others,
 * and `stanzas` and `stand-ins` are for the worker's own apt.
 */
const names = ['state', 'files', 'repositories', 'install', 'records', 'stanzas', 'stand-ins'] as const;
type OutsideScriptName = (typeof names)[number];

export const outsideTexts = readShellScripts(join(import.meta.dirname, 'scripts'), names);

export type OutsideScriptOptions = Omit<GuestScript, 'name' | 'text'>;

/** Runs one of our scripts. Throws as `runner.run` does. */
export async function runOutsideScript(
  inside: ScriptRunner,
  name: OutsideScriptName,
  options: OutsideScriptOptions,
): Promise<void> {
  await inside.run({ ...options, name: `outside-${name}`, text: outsideTexts[name] });
}
