import type { ScriptRunner } from '../guest/guest.ts';
import { type PackageList, parseListed, parsePackages, readPackages } from './packages.ts';

/**
 * Takes the packages that a script lists on descriptor 3 at its end, so that no other script has to start for them: the
 * output of scripts/packages.sh, behind a line `packages:` and in front of a line `listed:`.
 */
export interface PackageCollector {
  /** Whether this status line belongs to a list. */
  take(line: string): boolean;
  /** The list. Where none came whole, it is read by a script of its own, which throws as `readPackages` does. */
  list(runner: ScriptRunner): Promise<PackageList>;
}

/** Images have some thousands of packages; each takes 100 bytes. */
const maximumCharacters = 16 * 1024 * 1024;

export function collectPackages(): PackageCollector {
  let lines: string[] = [];
  let characters = 0;
  let state: 'none' | 'begun' | 'whole' = 'none';
  return {
    take(line) {
      if (line === 'packages:') {
        lines = [];
        characters = 0;
        state = 'begun';
        return true;
      }
      if (state !== 'begun') return false;
      if (line === 'listed:') {
        state = characters > maximumCharacters ? 'none' : 'whole';
        return true;
      }
      characters += line.length;
      if (characters <= maximumCharacters) lines.push(line);
      return true;
    },
    async list(runner) {
      if (state !== 'whole') return await readPackages(runner);
      return { packages: parsePackages(lines), listed: parseListed(lines) };
    },
  };
}
