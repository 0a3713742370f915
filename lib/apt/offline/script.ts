import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { GuestScript, GuestSession } from '../../guest/guest.ts';

/**
 * The scripts of this folder, which run inside images as those of lib/apt/scripts do; `records` is part of others, and
 * `stanzas` is for the worker's own apt.
 */
const names = ['state', 'keyrings', 'install', 'records', 'stanzas'] as const;
type OfflineScriptName = (typeof names)[number];

export const offlineTexts = Object.fromEntries(
  names.map((name) => [name, readFileSync(join(import.meta.dirname, 'scripts', `${name}.sh`), 'utf8')]),
) as Readonly<Record<OfflineScriptName, string>>;

export type OfflineScriptOptions = Omit<GuestScript, 'name' | 'text'>;

/** Runs one of our scripts. Throws what `session.run` throws. */
export async function runOfflineScript(
  session: GuestSession,
  name: OfflineScriptName,
  options: OfflineScriptOptions,
): Promise<void> {
  await session.run({ ...options, name: `offline-${name}`, text: offlineTexts[name] });
}
