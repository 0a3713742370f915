import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The shell scripts of the guests: plain POSIX shell; what varies comes in as arguments and input, never as text. */
const names = ['assemble', 'attach-partition', 'borrow', 'detach', 'give-back', 'runner', 'snapshot', 'seal'] as const;
export type GuestScriptName = (typeof names)[number];

export const guestScripts = Object.fromEntries(
  names.map((name) => [name, readFileSync(join(import.meta.dirname, 'scripts', `${name}.sh`), 'utf8')]),
) as Readonly<Record<GuestScriptName, string>>;
