import type { ArchiveName } from '../apt/archive-name.ts';
import type { Download } from '../apt/downloads.ts';

/** Finds the file that a build has fetched for a package of the image; undefined for packages from elsewhere. */
export function findDownload(downloads: readonly Download[]): (entry: ArchiveName) => Download | undefined {
  const byPackage = new Map(downloads.map((download) => [identity(download), download]));
  return (entry) => byPackage.get(identity(entry));
}

/** The URL of the file; null where only apt can fetch it (`mirror+file:`), or part of the URL is not to be shown. */
export function plainUrl({ url }: Download): string | null {
  return /^https?:\/\/[!-~]+$/.test(url) ? url : null;
}

/** The repositories of the file, in words: `http://deb.debian.org/debian bookworm main`. */
export function repositoryNames({ places }: Download): string[] {
  return places.map(({ uri, suite, component }) => [uri, suite, component ?? ''].join(' ').trimEnd());
}

/** Equal for the same version of a package. */
export function identity({ name, architecture, version }: ArchiveName): string {
  return `${name} ${architecture} ${version}`;
}
