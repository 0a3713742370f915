import { ImageBuilderError } from '../errors.ts';
import { someOf } from '../text.ts';
import { comparableName, type InstalledPackage, type PackageDifference } from './packages.ts';
import { bareName, type InstallPlan, withoutArchitecture } from './plan.ts';

/** Sentences about the packages that were asked for, after an installation. */
export interface AskedReport {
  /** About packages that are not installed under the name that they were asked for by. */
  readonly warnings: readonly string[];
  /** About those that the base image had already, and that stay as they were. */
  readonly notices: readonly string[];
}

/** Compares the packages that were asked for with those that an image has afterwards. */
export function reportAsked(
  specifications: readonly string[],
  after: {
    readonly plan: Pick<InstallPlan, 'instead'>;
    readonly packages: readonly InstalledPackage[];
    readonly changed: PackageDifference['changed'];
  },
): AskedReport {
  const versions = new Map<string, string>();
  for (const { name, architecture, version } of after.packages) {
    versions.set(`${name}:${architecture}`, version);
    versions.set(name, version);
  }
  const changed = new Set(after.changed.map(({ name }) => withoutArchitecture(name)));
  const warnings: string[] = [];
  const notices: string[] = [];
  for (const asked of new Set(specifications.map(bareName))) {
    const name = withoutArchitecture(asked);
    const version = versions.get(isRealArchitecture(asked) ? asked : name) ?? versions.get(`${name}:all`);
    const instead = after.plan.instead.get(asked);
    if (version === undefined) {
      warnings.push(
        instead === undefined
          ? `${asked} was asked for and is not installed under that name`
          : `${asked} was asked for and is not installed under that name: apt took ${instead}, which alone provides it`,
      );
    } else if (!changed.has(name)) {
      notices.push(
        `${asked} stays as it was in the base image, at ${version}: apt finds no newer version that it would take`,
      );
    }
  }
  return { warnings, notices };
}

/** Throws `apt.install` where apt has ended without an error, and has not installed all packages of its plan. */
export function assertInstalled(
  { install }: Pick<InstallPlan, 'install'>,
  packages: readonly InstalledPackage[],
  architecture: string,
): void {
  const installed = packages.filter(({ state }) => state === 'installed');
  const names = new Set(installed.map((entry) => comparableName(entry, architecture)));
  const missing = install.filter((name) => !names.has(name));
  if (missing.length === 0) return;
  throw new ImageBuilderError(
    'apt.install',
    `apt has ended without an error, and has not installed ${someOf(missing)}: something in the image keeps it from that, such as its configuration in /etc/apt or /etc/dpkg`,
  );
}

/** False for `name`, and for `name:any` and the like, which stand for the image's own architecture. */
function isRealArchitecture(name: string): boolean {
  return name.includes(':') && !/:(any|native|all)$/.test(name);
}
