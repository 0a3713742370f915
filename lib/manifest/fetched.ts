import type { ArchiveName } from '../apt/archive-name.ts';
import type { Download } from '../apt/downloads.ts';

/** Finds the file that a build has fetched for a package of the image; undefined for packages from elsewhere. */
export function findDownload(downloads: readonly Download[]): (entry: ArchiveName) => Download | undefined {
  const byPackage = new Map(downloads.map((download) => [identity(download), download]));
  return (entry) => byPackage.get(identity(entry));
}

/** Equal for the same version of a package. */
export function identity({ name, architecture, version }: ArchiveName): string {
  return `${name} ${architecture} ${version}`;
}
