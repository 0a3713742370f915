import type { ScriptRunner } from '../guest/guest.ts';
import { renderAptConfiguration } from './configuration.ts';
import { type Pin, parsePins } from './pins.ts';
import { type PackagePolicy, parsePolicies, parseSuites } from './policy.ts';
import { partOf, runScript } from './script.ts';

/** Everything that apt knows about packages that cannot be installed. */
export interface AptKnowledge {
  readonly policies: ReadonlyMap<string, PackagePolicy>;
  /** Suites that there are lists of, with their components: `bookworm main`. */
  readonly suites: readonly string[];
  /** The image's own, in the order of its files. */
  readonly pins: readonly Pin[];
  /** Packages on hold. */
  readonly held: ReadonlySet<string>;
  /** The image's own architecture, and the foreign ones that are enabled. */
  readonly architectures: readonly string[];
  /** All packages; empty unless they were asked for. */
  readonly names: readonly string[];
}

/** Asks apt about packages, `name` or `name:architecture`. */
export async function readKnowledge(
  runner: ScriptRunner,
  names: readonly string[],
  { allNames }: { readonly allNames: boolean },
): Promise<AptKnowledge> {
  const lines = await runScript(runner, 'explain', {
    arguments: [allNames ? 'names' : 'few'],
    files: { 'apt.conf': renderAptConfiguration({ proxyUrl: null }), names: `${names.join('\n')}\n` },
    timeoutMs: 300_000,
  });
  return parseKnowledge(lines);
}

/** Parses the lines of scripts/explain.sh. */
export function parseKnowledge(lines: readonly string[]): AptKnowledge {
  const part = (name: string) => partOf(lines, name) ?? [];
  return {
    policies: parsePolicies(part('policy')),
    suites: parseSuites(part('suites')),
    pins: parsePins(part('pins')),
    held: new Set(part('holds')),
    architectures: part('architectures'),
    names: part('names'),
  };
}
