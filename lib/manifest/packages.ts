import type { ListedPackage } from '../apt/packages.ts';

/**
 * The packages of an image in the form in which Ubuntu and Debian publish those of theirs, byte for byte: the output of
 * `dpkg-query -W --showformat='${binary:Package}\t${Version}\n'`.
 */
export function packageManifest(listed: readonly ListedPackage[]): string {
  return listed.map(({ name, version }) => `${name}\t${version}\n`).join('');
}
