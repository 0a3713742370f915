import type { InstalledPackage } from '../apt/packages.ts';
import type { System } from './contents.ts';

/**
 * The package URL of a Debian package (purl specification, type `deb`), with the qualifiers by which scanners choose
 * their data: `arch`, `distro` and, where the source package has another name or version, `upstream`, which is the word
 * of syft and grype.
 */
export function debianPurl(entry: InstalledPackage, system: System): string {
  const { name, version, source } = entry;
  const qualifiers = [`arch=${encode(entry.architecture)}`, `distro=${encode(distro(system))}`];
  if (source !== undefined && (source.name !== name || source.version !== version)) {
    const upstream = source.version === version ? source.name : `${source.name}@${source.version}`;
    qualifiers.push(`upstream=${encode(upstream)}`);
  }
  const namespace = encode(system.distribution.toLowerCase());
  return `pkg:deb/${namespace}/${encode(name)}@${encode(version)}?${qualifiers.join('&')}`;
}

/** The distribution and its release as scanners write them: `ubuntu-24.04`, or `debian` where no release is known. */
function distro({ distribution, release }: System): string {
  return release === '' ? distribution : `${distribution}-${release}`;
}

/** Letters, digits, `.-_~` and the colon stay, all other bytes of UTF-8 become `%XX` ("Character encoding" there). */
function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed())
    .replaceAll('%3A', ':')
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}
