import type { PlannedInstallation } from '#lib/apt/planned.ts';
import { formatBytes } from '#lib/text.ts';

/** A plan in lines for a terminal, one package each. */
export function describePlan({ install, remove, download }: PlannedInstallation): string[] {
  if (install.length + remove.length === 0) return ['Nothing would be installed or removed'];
  const fresh = install.filter(({ previous_version }) => previous_version === null);
  const changed = install.filter(({ previous_version }) => previous_version !== null);
  return [
    ...section('installed', fresh, ({ name, version, architecture }) => `${name} ${version} (${architecture})`),
    ...section(
      'changed',
      changed,
      ({ name, version, previous_version, architecture }) =>
        `${name} ${previous_version} -> ${version} (${architecture})`,
    ),
    ...section('removed', remove, ({ name, version }) => `${name} ${version}`),
    `${countOf(download.packages)} would be downloaded: ${formatBytes(download.bytes)}`,
  ];
}

function section<Entry>(verb: string, entries: readonly Entry[], line: (entry: Entry) => string): string[] {
  if (entries.length === 0) return [];
  return [`${countOf(entries.length)} would be ${verb}:`, ...entries.map((entry) => `  ${line(entry)}`)];
}

function countOf(packages: number): string {
  return packages === 1 ? '1 package' : `${packages} packages`;
}
