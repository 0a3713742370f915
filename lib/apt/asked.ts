import type { InstalledPackage, PackageDifference } from './packages.ts';
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

/** False for `name`, and for `name:any` and the like, which stand for the image's own architecture. */
function isRealArchitecture(name: string): boolean {
  return name.includes(':') && !/:(any|native|all)$/.test(name);
}
