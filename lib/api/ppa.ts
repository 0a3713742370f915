import { z } from 'zod';

/**
 * A Launchpad PPA. Launchpad's own rule for names (valid_name_pattern): a lower-case letter or digit, then lower-case
 * letters, digits, `+`, `.` and `-`. A PPA cannot be called `ubuntu`.
 */
const launchpadName = /^[a-z0-9][a-z0-9+.-]*$/;
const forms = 'must be "ppa:owner/name", "ppa:owner" or "ppa:owner/ubuntu/name"';

export interface Ppa {
  readonly owner: string;
  readonly name: string;
}

/**
 * The forms that `add-apt-repository` takes: `ppa:owner/name`, `ppa:owner` (the PPA called `ppa`),
 * `ppa:owner/ubuntu/name`; the prefix in any case, the owner with or without `~`.
 */
export const Ppa = z
  .string()
  .max(256)
  .transform((text, context): Ppa => {
    const parsed = parsePpa(text);
    if (typeof parsed !== 'string') return parsed;
    context.addIssue({ code: 'custom', message: parsed, input: text });
    return z.NEVER;
  });

/** The canonical spelling, `ppa:owner/name`. */
export function formatPpa(ppa: Ppa): string {
  return `ppa:${ppa.owner}/${ppa.name}`;
}

function parsePpa(text: string): Ppa | string {
  const match = /^ppa:(.*)$/i.exec(text);
  if (match?.[1] === undefined) return forms;
  const parts = match[1].replace(/^~/, '').split('/');
  const [owner = '', second, third] = parts;
  if (parts.length > 3) return forms;
  if (parts.length === 3 && second !== 'ubuntu') return `${forms}; only the distribution "ubuntu" has PPAs`;
  const name = parts.length === 3 ? (third ?? '') : (second ?? 'ppa');
  for (const [what, value] of [
    ['owner', owner],
    ['name', name],
  ] as const) {
    if (!launchpadName.test(value)) {
      return `${forms}; the ${what} "${value}" is not a Launchpad name (lower-case letters, digits, "+", "." and "-", beginning with a letter or digit)`;
    }
  }
  if (name === 'ubuntu') return `${forms}; no PPA can be called "ubuntu"`;
  return { owner, name };
}
