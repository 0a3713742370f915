import type { ScriptRunner } from '../guest/guest.ts';
import { renderAptConfiguration } from './configuration.ts';
import { parseUris } from './downloads.ts';
import { installError } from './install.ts';
import { type InstallPlan, withoutArchitecture } from './plan.ts';
import type { KnownRepositories } from './repository.ts';
import { type ResolveOptions, recommendsOption, resolvePackages } from './resolve.ts';
import { runApt } from './script.ts';

/** A package that would be installed or upgraded. */
export interface PlannedPackage {
  readonly name: string;
  readonly architecture: string;
  readonly version: string;
  /** Null where it is not installed yet. */
  readonly previous_version: string | null;
}

/** The changes and downloads of an installation. */
export interface PlannedInstallation {
  readonly install: readonly PlannedPackage[];
  readonly remove: readonly { readonly name: string; readonly version: string }[];
  readonly download: { readonly packages: number; readonly bytes: number };
}

export interface PlanOptions extends ResolveOptions, KnownRepositories {
  /** Called with the plan in apt's own words; an error that it throws is thrown. */
  readonly onPlan?: (plan: InstallPlan) => void;
}

/**
 * Works out what installing packages would do, and does not do it. Throws as `resolvePackages` does, and as
 * `installPackages` where apt cannot tell.
 */
export async function planInstallation(
  runner: ScriptRunner,
  specifications: readonly string[],
  options: PlanOptions,
): Promise<PlannedInstallation> {
  if (specifications.length === 0) return { install: [], remove: [], download: { packages: 0, bytes: 0 } };
  const resolved = await resolvePackages(runner, specifications, options);
  options.onPlan?.(resolved);
  const run = await runApt(runner, 'plan', {
    arguments: [recommendsOption(options.recommends), 'install', ...specifications],
    files: { 'apt.conf': renderAptConfiguration(options) },
    timeoutMs: 600_000,
  });
  const error = installError(run, [], options);
  if (error !== null) throw error;
  const end = run.lines.indexOf('== downloads');
  const uris = parseUris(run.lines.slice(end + 1));
  const bytes = uris.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return { ...parseChanges(run.lines.slice(0, end)), download: { packages: uris.length, bytes } };
}

/**
 * `Inst name [old] (new origin [architecture])` and `Remv name [old]`, the lines of `apt-get -s`. The name of a package
 * of a foreign architecture has that behind a colon.
 */
export function parseChanges(lines: readonly string[]): Pick<PlannedInstallation, 'install' | 'remove'> {
  const install: PlannedPackage[] = [];
  const remove: { name: string; version: string }[] = [];
  for (const line of lines) {
    const [kind, name = '', ...words] = line.split(' ');
    const old = words[0]?.startsWith('[') ? words[0].slice(1, -1) : null;
    if (kind === 'Remv') remove.push({ name: withoutArchitecture(name), version: old ?? '' });
    if (kind !== 'Inst') continue;
    const end = words.findIndex((word) => word.endsWith('])'));
    const version = words.find((word) => word.startsWith('('))?.slice(1) ?? '';
    const architecture = words[end]?.slice(1, -2) ?? '';
    install.push({ name: withoutArchitecture(name), architecture, version, previous_version: old });
  }
  return { install, remove };
}
