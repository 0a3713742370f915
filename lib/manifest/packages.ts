import type { InstalledPackage } from '../apt/packages.ts';

/**
 * The packages of an image in the form in which Ubuntu publishes those of its images: a line for each, its name, a tab
 * and its version, in the order of the names. Names of another architecture than the image's own end with `:ARCHITECTURE`.
 */
export function packageManifest(packages: readonly InstalledPackage[], architecture: string): string {
  const lines = packages.map((entry) => {
    const isOwn = entry.architecture === architecture || entry.architecture === 'all';
    return `${isOwn ? entry.name : `${entry.name}:${entry.architecture}`}\t${entry.version}\n`;
  });
  return lines.sort().join('');
}
