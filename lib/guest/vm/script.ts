import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The shell scripts that run inside the vm around the image, by its busybox; those inside the image are the guests'. */
const names = ['init', 'stage', 'attach', 'detach'] as const;
export type VmScriptName = (typeof names)[number];

export const vmScripts = Object.fromEntries(
  names.map((name) => [name, readFileSync(join(import.meta.dirname, 'scripts', `${name}.sh`), 'utf8')]),
) as Readonly<Record<VmScriptName, string>>;
