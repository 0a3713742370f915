import { ImageBuilderError } from '../errors.ts';
import { someOf } from '../text.ts';
import { comparableName, type InstalledPackage } from './packages.ts';
import { bareName, withoutArchitecture } from './plan.ts';
import { compareVersions } from './version.ts';

/** An installation that is to be made in a further file tree of the same image, so that both have the same versions. */
export interface FirstInstallation {
  /** The packages that it has added or upgraded, and removed; `name:architecture` for foreign architectures. */
  readonly changed: readonly { readonly name: string; readonly version: string }[];
  readonly removed: readonly { readonly name: string }[];
  /** The packages that were asked for. */
  readonly wanted: readonly string[];
  /** The packages that apt took instead of some of these. */
  readonly instead: ReadonlyMap<string, string>;
}

/** The packages to ask apt for in the further file tree. */
export interface RepeatedInstallation {
  readonly specifications: readonly string[];
  /** Those of them that nobody has asked for by name: apt is to take none of them for asked for. */
  readonly unasked: readonly { readonly name: string; readonly isNew: boolean }[];
}

/**
 * The specifications for a file tree that has `packages`: what the first installation has changed, in the same versions,
 * but where the tree has newer ones. `architecture` is the image's own.
 */
export function repeatInstallation(
  { wanted, changed, instead }: FirstInstallation,
  packages: readonly InstalledPackage[],
  architecture: string,
): RepeatedInstallation {
  const versions = versionsOf(packages, architecture);
  const done = new Set(changed.map(({ name }) => withoutArchitecture(name)));
  const asked = new Set(wanted.map((specification) => withoutArchitecture(bareName(specification))));
  const missing = changed.filter(({ name, version }) => {
    const present = versions.get(name);
    return present === undefined || compareVersions(present, version) < 0;
  });
  const others = wanted.filter((specification) => {
    const name = bareName(specification);
    return !done.has(withoutArchitecture(name)) && !instead.has(name);
  });
  return {
    specifications: [...others, ...missing.map(({ name, version }) => `${name}=${version}`)],
    unasked: missing
      .filter(({ name }) => !asked.has(withoutArchitecture(name)))
      .map(({ name }) => ({ name, isNew: !versions.has(name) })),
  };
}

/** Throws `apt.install` unless the further file tree has what the first installation has brought, and nothing that it removed. */
export function assertRepeated(
  { changed, removed }: FirstInstallation,
  packages: readonly InstalledPackage[],
  architecture: string,
): void {
  const versions = versionsOf(packages, architecture);
  const wrong = changed.flatMap(({ name, version }) => {
    const present = versions.get(name);
    if (present !== undefined && compareVersions(present, version) >= 0) return [];
    return [`${name} is ${present ?? 'missing'}, where the layer below has ${version}`];
  });
  const left = removed
    .filter(({ name }) => versions.has(name))
    .map(({ name }) => `${name} is still there, which the change has removed below`);
  if (wrong.length + left.length === 0) return;
  throw new ImageBuilderError(
    'apt.install',
    `the packages differ from those below: ${someOf([...wrong, ...left], '; ')}`,
  );
}

function versionsOf(packages: readonly InstalledPackage[], architecture: string): ReadonlyMap<string, string> {
  return new Map(packages.map((entry) => [comparableName(entry, architecture), entry.version]));
}
