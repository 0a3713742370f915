import type { Installation } from '../apt/apt.ts';
import type { ArchiveName } from '../apt/archive-name.ts';
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

/**
 * A material for each package that the build has put into the image: its file, where apt has fetched one. A package of
 * which nobody knows the file has its package URL alone, and says so.
 */
export function packageMaterials({ before, installed: { plan, packages }, system }: Installed): Material[] {
  const old = new Set(before.map(identity));
  const downloadOf = findDownload(plan.downloads);
  return packages.flatMap((entry): Material[] => {
    const download = downloadOf(entry);
    if (download === undefined && old.has(identity(entry))) return [];
    const name = debianPurl(entry, system);
    if (download === undefined) return [{ name, uri: name, annotations: { not_known: 'the file of this package' } }];
    const { url, digest, places } = download;
    const notKnown = digest === null ? { not_known: 'a SHA-256 or SHA-512: the index of the repository has none' } : {};
    return [
      { name, uri: url, ...(digest === null ? {} : { digest }), annotations: { repositories: places, ...notKnown } },
    ];
  });
}
