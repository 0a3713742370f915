import { withoutSlash } from '../apt/downloads.ts';
import type { PpaSource } from '../apt/launchpad.ts';
import { bareName, withoutArchitecture } from '../apt/plan.ts';
import type { ResolvedPlan } from '../apt/resolve.ts';
import type { Layer, SeenBuild, Shelf } from './layer-store.ts';
import { madeOf } from './made-of.ts';

/** Fewer packages are not worth a layer, which takes as much room as its base image. */
export const leastPackages = 5;

/**
 * The packages of a plan that do not come from its PPAs, as in `MadeOf`; none where the plan removes others, or where
 * the digest of one is unknown.
 */
export function sharedPackages(plan: ResolvedPlan, sources: readonly PpaSource[]): string[] {
  if (plan.remove.length > 0 || plan.downloads.length !== plan.install.length) return [];
  const places = sources.map(({ url }) => `${withoutSlash(withoutScheme(url))}/`);
  const downloads = plan.downloads.filter(({ url }) => !places.some((place) => withoutScheme(url).startsWith(place)));
  const install = downloads.map(({ name }) => name);
  return [...(madeOf([], { install, remove: [], downloads })?.packages ?? [])];
}

/** A PPA is asked by http where the image cannot use https. */
function withoutScheme(url: string): string {
  return url.replace(/^[a-z+]+:\/\//, '');
}

/** The names that a request asks for, without versions and architectures. */
export function namesOf(wanted: readonly string[]): string[] {
  return wanted.map((specification) => withoutArchitecture(bareName(specification)));
}

/** Whether a request might share packages with those that were seen: only then it is worth asking apt. */
export function mayShare(wanted: readonly string[], { seen, layers }: Pick<Shelf, 'seen' | 'layers'>): boolean {
  const names = new Set(namesOf(wanted));
  return [...seen, ...layers].some(
    (each) => each.wanted.some((name) => names.has(name)) || each.packages.some((entry) => names.has(nameOf(entry))),
  );
}

/** The layers of which a plan contains every package, the largest first. */
export function fittingLayers(layers: readonly Layer[], packages: readonly string[]): Layer[] {
  const planned = new Set(packages);
  const fitting = layers.filter((layer) => layer.packages.every((entry) => planned.has(entry)));
  return fitting.sort((one, other) => other.packages.length - one.packages.length);
}

/**
 * The packages of which a layer is to be made: the most that another build had too; null where that is not worth it, or where the
 * layer would not fit into a cache of `cacheBytes`.
 */
export function newLayer(
  { seen, refused, layers }: Shelf,
  packages: readonly string[],
  cacheBytes: number,
): readonly string[] | null {
  const planned = new Set(packages);
  const common = seen.map((each) => each.packages.filter((entry) => planned.has(entry)));
  const least = (fittingLayers(layers, packages)[0]?.packages.length ?? 0) + leastPackages;
  const unfit = refused.filter(({ sizeBytes }) => sizeBytes === null || sizeBytes > cacheBytes);
  const possible = common.filter(
    (found) => found.length >= least && !unfit.some((each) => each.packages.every((entry) => found.includes(entry))),
  );
  return possible.sort((one, other) => other.length - one.length)[0] ?? null;
}

/** The builds that have installed all of these packages. */
export function buildsWith({ seen }: Pick<Shelf, 'seen'>, packages: readonly string[]): readonly SeenBuild[] {
  return seen.filter((build) => packages.every((entry) => build.packages.includes(entry)));
}

/** `name version architecture digest`, an entry of `MadeOf.packages`. */
export function nameOf(entry: string): string {
  return entry.slice(0, entry.indexOf(' '));
}

/** The specification by which apt installs exactly this package. `own` is the architecture of the image. */
export function specificationOf(entry: string, own: string): string {
  const [name = '', version = '', architecture = ''] = entry.split(' ');
  return `${architecture === 'all' || architecture === own ? name : `${name}:${architecture}`}=${version}`;
}
