import { createHash } from 'node:crypto';
import type { OutsideState } from '../apt/outside/worker-apt.ts';
import type { ResolvedPlan } from '../apt/resolve.ts';

/** The sources of packages that an image was made with. */
export interface PlanBasis {
  /** All that apt needs to plan the installation once more without the image. */
  readonly state: OutsideState;
  /** SHA-256 of each Release file and each signature of one, sorted. */
  readonly releases: readonly string[];
}

/** Everything that came into an image from its repositories. Equal for images with the same packages of the same lists. */
export interface MadeOf {
  readonly releases: readonly string[];
  /** `name version architecture algorithm:digest` of each package file, sorted. */
  readonly packages: readonly string[];
  /** The packages that were removed, sorted. */
  readonly removed: readonly string[];
}

/** Digests of Release files, which differ in name between releases of apt. */
export function digestReleases(files: ReadonlyMap<string, Buffer>): string[] {
  const digests = [...files.values()].map((content) => createHash('sha256').update(content).digest('hex'));
  return [...new Set(digests)].sort();
}

/** Null where the digest of a package file is unknown: what apt would fetch cannot be compared. */
export function madeOf(releases: readonly string[], plan: Omit<ResolvedPlan, 'instead'>): MadeOf | null {
  if (plan.downloads.length !== plan.install.length) return null;
  const packages: string[] = [];
  for (const { name, version, architecture, digest } of plan.downloads) {
    if (digest === null) return null;
    const [hash] = Object.entries(digest).map(([algorithm, hex]) => `${algorithm}:${hex}`);
    packages.push(`${name} ${version} ${architecture} ${hash}`);
  }
  return { releases, packages: packages.sort(), removed: [...plan.remove].sort() };
}

/** The first difference, in words; null where there is none. */
export function differenceOf(before: MadeOf, now: MadeOf): string | null {
  const fresh = now.packages.find((entry) => !before.packages.includes(entry));
  if (fresh !== undefined) return `${fresh.split(' ').slice(0, 2).join(' ')} would be installed now`;
  const gone = before.packages.find((entry) => !now.packages.includes(entry));
  if (gone !== undefined) return `${gone.split(' ').slice(0, 2).join(' ')} would not be installed now`;
  if (before.removed.join(' ') !== now.removed.join(' ')) return 'other packages would be removed now';
  if (before.releases.join(' ') !== now.releases.join(' ')) return 'repositories have been published anew since';
  return null;
}
