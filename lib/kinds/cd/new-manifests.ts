import { type PackageChange, updateDifference, updateManifest } from '../../medium/lists.ts';
import type { InstalledPackages } from './package-status.ts';
import type { PackagesOf } from './take-changes.ts';

/** Lists of the packages of file trees, which have changed. */

/** A list of all packages of a file tree. */
export function updateFullManifest(text: string, { before, after }: PackagesOf): string {
  const names = namesIn(text);
  return updateManifest(
    text,
    changedNames(before, after).map((name) => changeOf(name, before, after, names)),
  );
}

/**
 * A list of the packages that an installer keeps (`manifest-desktop` of Ubuntu's ubiquity): it removes all others that the
 * file tree has, such as those of the live session.
 */
export function updateKeptManifest(text: string, { before, after }: PackagesOf): string {
  const names = namesIn(text);
  const changes = changedNames(before, after).map((name) => ({
    ...changeOf(name, before, after, names),
    isNew: !before.has(name),
  }));
  return updateManifest(
    text,
    changes.filter(({ name, isNew }) => isNew || names.has(name)),
  );
}

/** A list of the packages that an installer removes: none that the change has brought. */
export function updateRemovedManifest(text: string, { before, after }: PackagesOf): string {
  const names = namesIn(text);
  const added = [...after.keys()].filter((name) => !before.has(name));
  return updateManifest(
    text,
    added.map((name) => ({ name: changeOf(name, before, after, names).name, version: null })),
  );
}

/**
 * A list of the packages in which a file tree differs from that below it: lines of those that it adds, or the lines of
 * diff(1) with a sign before each.
 */
export function updateDeltaManifest(text: string, packages: PackagesOf, below: PackagesOf): string {
  const isDifference = /^[+-]/.test(text);
  const names = namesIn(text);
  const concerned = new Set([
    ...changedNames(packages.before, packages.after),
    ...changedNames(below.before, below.after),
  ]);
  const added: PackageChange[] = [];
  const removed: PackageChange[] = [];
  for (const key of concerned) {
    const { name, version } = changeOf(key, packages.before, packages.after, names);
    const lower = below.after.get(key)?.version ?? null;
    added.push({ name, version: version === lower ? null : version });
    removed.push({ name, version: version === lower ? null : lower });
  }
  return isDifference ? updateDifference(text, added, removed) : updateManifest(text, added);
}

/** True where a list has exactly these packages in these versions. */
export function describes(text: string, packages: InstalledPackages): boolean {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('snap:'));
  const known = new Map([...packages].map(([name, { version }]) => [name, version]));
  return (
    lines.length === packages.size &&
    lines.every((line) => {
      const [name = '', version] = line.split(/[\t ]+/, 2);
      return (known.get(name) ?? known.get(name.slice(0, name.lastIndexOf(':')))) === version;
    })
  );
}

function changedNames(before: InstalledPackages, after: InstalledPackages): string[] {
  const changed = [...after].filter(([name, { version }]) => before.get(name)?.version !== version);
  return [...changed.map(([name]) => name), ...[...before.keys()].filter((name) => !after.has(name))];
}

function namesIn(text: string): ReadonlySet<string> {
  return new Set(text.split('\n').map((line) => line.split(/[\t ]/, 1)[0]?.replace(/^[+-]/, '') ?? ''));
}

/** Lists name packages of several architectures with theirs, as dpkg-query does, or without. */
function changeOf(
  name: string,
  before: InstalledPackages,
  after: InstalledPackages,
  names: ReadonlySet<string>,
): PackageChange {
  const architecture = (after.get(name) ?? before.get(name))?.architecture ?? '';
  const qualified = `${name}:${architecture}`;
  return { name: names.has(qualified) ? qualified : name, version: after.get(name)?.version ?? null };
}
