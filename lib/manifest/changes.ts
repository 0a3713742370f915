import { z } from 'zod';
import type { InstalledPackage } from '../apt/packages.ts';
import { bareName, withoutArchitecture } from '../apt/plan.ts';
import type { TouchedFiles } from '../guest/touched-files.ts';
import { DocumentedFiles, documentFiles } from './touched.ts';

/** The document about the differences between an image and its base. docs/artifacts.md describes it. */

const AddedPackage = z.object({
  name: z.string(),
  /** `all` for packages of no particular architecture. */
  architecture: z.string(),
  version: z.string(),
  /** False for packages that apt has taken along: dependencies and recommendations. */
  asked: z.boolean(),
});

const ChangedPackage = AddedPackage.extend({ previous_version: z.string() });

const RemovedPackage = AddedPackage.omit({ asked: true });

/** All lists are in the order of names, and then of architectures. */
export const ChangesDocument = z.object({
  /** Raised when a member changes its meaning or goes. */
  version: z.literal(1),
  packages: z.object({
    /** Number of the base's packages. */
    before: z.int().nonnegative(),
    /** Number of the image's packages. */
    after: z.int().nonnegative(),
    added: z.array(AddedPackage),
    removed: z.array(RemovedPackage),
    changed: z.array(ChangedPackage),
  }),
  /** The files that the build has made or changed outside dpkg's knowledge; null where the image's tools cannot list them. */
  files: DocumentedFiles.nullable(),
  /** Why `files` is null. */
  files_unknown: z.string().optional(),
});
export type ChangesDocument = z.infer<typeof ChangesDocument>;

export interface Changes {
  readonly before: readonly InstalledPackage[];
  readonly after: readonly InstalledPackage[];
  /** The image's own architecture. */
  readonly architecture: string;
  /** The packages that the request names, `name` or `name:architecture`, with or without a version. */
  readonly wanted: readonly string[];
  /** The packages that apt took for wanted ones of another name, which they alone provide. */
  readonly instead: ReadonlyMap<string, string>;
  /** The files that the build has touched; null where they are unknown. */
  readonly touched: TouchedFiles | null;
}

export function describeChanges({ before, after, architecture, wanted, instead, touched }: Changes): ChangesDocument {
  // A package may change between `all` and the image's own architecture, and is still the same one.
  const key = (entry: InstalledPackage) =>
    `${entry.name}:${entry.architecture === 'all' ? architecture : entry.architecture}`;
  const byKey = (packages: readonly InstalledPackage[]) => new Map(packages.map((entry) => [key(entry), entry]));
  const old = byKey(before);
  const now = byKey(after);
  const asked = new Set(
    wanted.map((specification) => {
      const name = bareName(specification);
      const taken = instead.get(name) ?? name;
      return /:(any|native|all)$|^[^:]*$/.test(taken) ? `${withoutArchitecture(taken)}:${architecture}` : taken;
    }),
  );
  const added: z.infer<typeof AddedPackage>[] = [];
  const changed: z.infer<typeof ChangedPackage>[] = [];
  for (const [place, { name, architecture, version }] of now) {
    const entry = { name, architecture, version, asked: asked.has(place) };
    const previous = old.get(place);
    if (previous === undefined) added.push(entry);
    else if (previous.version !== version) changed.push({ ...entry, previous_version: previous.version });
  }
  const removed = [...old].flatMap(([place, { name, architecture, version }]) =>
    now.has(place) ? [] : [{ name, architecture, version }],
  );
  return {
    version: 1,
    packages: {
      before: old.size,
      after: now.size,
      added: added.sort(byName),
      removed: removed.sort(byName),
      changed: changed.sort(byName),
    },
    ...(touched === null ? { files: null, files_unknown: unknownFiles } : { files: documentFiles(touched) }),
  };
}

const unknownFiles = 'the tools of the image cannot list its files: they need GNU find';

function byName(a: InstalledName, b: InstalledName): number {
  if (a.name !== b.name) return a.name < b.name ? -1 : 1;
  return a.architecture < b.architecture ? -1 : 1;
}

type InstalledName = Pick<InstalledPackage, 'name' | 'architecture'>;
