import { ImageBuilderError } from '../errors.ts';
import { ExecError } from '../exec.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import { runScript } from './script.ts';

/** A package in the image's dpkg database that is unpacked or more: removed ones are left out. */
export interface InstalledPackage {
  readonly name: string;
  /** Empty where the database has none. */
  readonly architecture: string;
  /** Empty where the database has none, as it may be for a package that was never unpacked whole. */
  readonly version: string;
  /** dpkg's state: `installed`, or a state in which an interrupted or failed installation leaves a package. */
  readonly state: 'installed' | 'unfinished';
  /** The source package that it was built from; left out where dpkg is older than 1.16.2 (2012) and cannot say. */
  readonly source?: { readonly name: string; readonly version: string };
}

/** A package as `dpkg-query -W` shows it, one that left its configuration files behind included. */
export interface ListedPackage {
  /** With its architecture where dpkg shows it: behind the packages of `Multi-Arch: same`, and foreign ones. */
  readonly name: string;
  readonly version: string;
}

/** One reading of dpkg's database. */
export interface PackageList {
  readonly packages: readonly InstalledPackage[];
  /** In the order of dpkg. */
  readonly listed: readonly ListedPackage[];
}

/** One package that a build has added or upgraded, with the version it replaced where there was one. */
export interface PackageChange {
  /** The bare name, or `name:architecture` where that is not the image's own. */
  readonly name: string;
  readonly version: string;
  readonly previous_version?: string;
}

/** One package that a build has removed, with the version that it had. */
export interface RemovedPackage {
  /** The bare name, or `name:architecture` where that is not the image's own. */
  readonly name: string;
  readonly version: string;
  /** `all` for packages of no particular architecture. */
  readonly architecture: string;
}

/** Reads which packages an image has; none where it has no dpkg. Throws `image.corrupt` where dpkg cannot list them. */
export async function readPackages(runner: ScriptRunner): Promise<PackageList> {
  try {
    const lines = await runScript(runner, 'packages', { timeoutMs: 120_000 });
    return { packages: parsePackages(lines), listed: parseListed(lines) };
  } catch (error) {
    throw databaseError(error);
  }
}

/** `image.corrupt` where a script that lists packages has failed; any other error as it is. */
export function databaseError(error: unknown): unknown {
  if (!(error instanceof ExecError) || error.exitCode === undefined || error.timedOut) return error;
  return new ImageBuilderError(
    'image.corrupt',
    `dpkg cannot read its own database in the image: ${error.logTail.join(' ')}`,
    { cause: error, logTail: error.logTail },
  );
}

/**
 * Parses lines of scripts/packages.sh into the packages that are unpacked or more. Each name has an architecture once, as in
 * dpkg's database: of lines that repeat it, the last counts.
 */
export function parsePackages(lines: readonly string[]): InstalledPackage[] {
  const packages = lines.flatMap((line): InstalledPackage[] => {
    const [name = '', architecture = '', version = '', status = '', , sourceName = '', sourceVersion = ''] =
      line.split('\t');
    // The second letter is the state (dpkg-query(1)): n not installed, c only configuration files, i installed,
    // W and t waiting for or owing triggers, which the next dpkg run settles; the third is R after a broken removal.
    const state = status[1];
    if (name === '' || state === undefined || state === 'n' || state === 'c') return [];
    const finished = (state === 'i' || state === 'W' || state === 't') && status[2] !== 'R';
    const source = sourceName === '' ? {} : { source: { name: sourceName, version: sourceVersion } };
    return [{ name, architecture, version, state: finished ? 'installed' : 'unfinished', ...source }];
  });
  return [...new Map(packages.map((entry) => [`${entry.name}\t${entry.architecture}`, entry])).values()];
}

/** Parses lines of scripts/packages.sh into all packages that dpkg shows. */
export function parseListed(lines: readonly string[]): ListedPackage[] {
  return lines.flatMap((line): ListedPackage[] => {
    const [, , version, , name] = line.split('\t');
    return version === undefined || name === undefined || name === '' ? [] : [{ name, version }];
  });
}

export interface PackageDifference {
  /** New packages and those whose version changed, by name. */
  readonly changed: readonly PackageChange[];
  /** Packages that are no longer there, by name. */
  readonly removed: readonly RemovedPackage[];
}

/** The differences between two readings of an image's packages. `architecture` is the image's own. */
export function comparePackages(
  before: readonly InstalledPackage[],
  after: readonly InstalledPackage[],
  architecture: string,
): PackageDifference {
  const versions = (packages: readonly InstalledPackage[]) =>
    new Map(packages.map((entry) => [comparableName(entry, architecture), entry.version]));
  const old = versions(before);
  const now = versions(after);
  const changed = [...now].flatMap(([name, version]): PackageChange[] => {
    const previous = old.get(name);
    if (previous === version) return [];
    return [previous === undefined ? { name, version } : { name, version, previous_version: previous }];
  });
  const removed = before.flatMap((entry): RemovedPackage[] => {
    const name = comparableName(entry, architecture);
    return now.has(name) ? [] : [{ name, version: entry.version, architecture: entry.architecture }];
  });
  const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
  return { changed: changed.sort(byName), removed: removed.sort(byName) };
}

/** The bare name, or `name:architecture` where that is not the image's own, `architecture`. */
export function comparableName(entry: InstalledPackage, architecture: string): string {
  const native = entry.architecture === 'all' || entry.architecture === architecture;
  return native ? entry.name : `${entry.name}:${entry.architecture}`;
}
