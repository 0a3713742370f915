import type { Installation } from '../apt/apt.ts';
import type { ArchiveName } from '../apt/archive-name.ts';
import type { IndexPlace } from '../apt/downloads.ts';
import type { ReleaseFields, Repositories, Repository } from '../apt/repositories/repository.ts';
import type { System } from '../manifest/contents.ts';
import { findDownload, identity } from '../manifest/fetched.ts';
import { debianPurl } from '../manifest/purl.ts';
import type { Material } from '../provenance/statement.ts';

/** An installation, and what the image had before. */
export interface Installed {
  readonly before: readonly ArchiveName[];
  readonly installed: Installation;
  readonly system: System;
}

/** A package as a material, and the places from which apt may have it. */
export interface PackageMaterial {
  readonly material: Material;
  readonly places: readonly IndexPlace[];
}

/**
 * A material for each package that the build has put into the image: its file, where apt has fetched one. A package of
 * which nobody knows the file has its package URL alone, and says so.
 */
export function packageMaterials({ before, installed: { plan, packages }, system }: Installed): PackageMaterial[] {
  const old = new Set(before.map(identity));
  const downloadOf = findDownload(plan.downloads);
  return packages.flatMap((entry): PackageMaterial[] => {
    const download = downloadOf(entry);
    if (download === undefined && old.has(identity(entry))) return [];
    const name = debianPurl(entry, system);
    if (download === undefined) {
      return [{ material: { name, uri: name, annotations: { not_known: 'the file of this package' } }, places: [] }];
    }
    const { url, digest, places } = download;
    const notKnown = digest === null ? { not_known: 'a SHA-256 or SHA-512: the index of the repository has none' } : {};
    const annotations = { repositories: places, ...notKnown };
    return [{ material: { name, uri: url, ...(digest === null ? {} : { digest }), annotations }, places }];
  });
}

/** A material for each repository that apt had: its Release file, and how many of the packages it has. */
export function repositoryMaterials(
  found: Repositories | null,
  packages: readonly Pick<PackageMaterial, 'places'>[],
): Material[] {
  if (found === null) return [];
  const counts = new Map<string, number>();
  for (const { places } of packages) {
    for (const key of new Set(places.map(placeKey))) counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const materials = found.repositories.map((each) => repositoryMaterial(each, counts.get(placeKey(each)) ?? 0));
  if (found.notKnown === null) return materials;
  return [...materials, { name: 'repositories', uri: unknownRepositories, annotations: { not_known: found.notKnown } }];
}

const placeKey = ({ uri, suite }: Pick<IndexPlace, 'uri' | 'suite'>) => `${uri} ${suite}`;

const unknownRepositories = 'urn:imagebuilder:repositories';

function repositoryMaterial({ uri, suite, file, signers, notKnown }: Repository, packages: number): Material {
  return {
    name: `repository ${uri} ${suite}`,
    ...(file === null ? { uri } : { uri: file.url, digest: { sha256: file.sha256 } }),
    annotations: {
      repository: { uri, suite },
      ...(file === null ? {} : { release: describeRelease(file) }),
      signers,
      packages,
      ...(notKnown.length === 0 ? {} : { not_known: notKnown.join('; ') }),
    },
  };
}

function describeRelease({ origin, suite, codename, date, validUntil }: ReleaseFields) {
  return { origin, suite, codename, date, valid_until: validUntil };
}
