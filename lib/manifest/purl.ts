import type { InstalledPackage } from '../apt/packages.ts';
import type { System } from './contents.ts';

/**
 * The package URL of a Debian package (purl specification, type `deb`), with the qualifiers by which scanners choose
 * their data: `arch`, `distro` and, where the source package has another name or version, `upstream`, which is the word
 * of syft and grype.
 */
export function debianPurl(entry: InstalledPackage, system: System): string {
  const { name, version, source } = entry;
  const upstream = source === undefined ? '' : version === source.version ? source.name : sourceText(source, '@');
  const qualifiers = [
    ['arch', entry.architecture],
    ['distro', distro(system)],
    ['upstream', upstream === name ? '' : upstream],
  ] as const;
  // A part without a value is left out with its separator.
  const given = qualifiers.filter(([, value]) => value !== '').map(([key, value]) => `${key}=${encode(value)}`);
  const namespace = encode(system.distribution.toLowerCase());
  return `pkg:deb/${namespace}/${encode(name)}${version === '' ? '' : `@${encode(version)}`}?${given.join('&')}`;
}

/** Name and version of a source package, or the name alone where the version is not known. */
export function sourceText({ name, version }: NonNullable<InstalledPackage['source']>, between: string): string {
  return version === '' ? name : `${name}${between}${version}`;
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
