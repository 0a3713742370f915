import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compareVersions } from '#lib/apt/version.ts';
import { exec } from '#lib/exec.ts';
import type { PackageRecipe } from '../servers/launchpad.ts';

/** A kernel of the distribution, as a package of its own. */
export interface AnotherKernel {
  readonly recipe: PackageRecipe;
  /** The answer of `uname -r`. */
  readonly version: string;
}

/**
 * The newest kernel for clouds, the smallest that Debian has, for media that have an older one. Unpacks it in `directory`.
 * Throws where the distribution has none that is newer than `known`.
 */
export async function newestKernel(known: string, directory: string): Promise<AnotherKernel> {
  const { stdout } = await exec('apt-cache', ['pkgnames', 'linux-image-']);
  const version = [...stdout.matchAll(/^linux-image-(\d.*-cloud-amd64)$/gm)]
    .map(([, found = '']) => found)
    .sort(compareVersions)
    .at(-1);
  if (version === undefined || compareVersions(version, known) <= 0) throw new Error(`no kernel after ${known}`);
  const name = `linux-image-${version}`;
  await mkdir(directory);
  await exec('apt-get', ['-q', '-o', 'APT::Sandbox::User=root', 'download', name], { cwd: directory });
  const tree = join(directory, 'tree');
  for (const file of await readdir(directory)) await exec('dpkg-deb', ['-R', join(directory, file), tree]);
  const control = await readFile(join(tree, 'DEBIAN/control'), 'utf8');
  const [architecture, packageVersion] = ['Architecture', 'Version'].map(
    (field) => new RegExp(`^${field}: (.*)$`, 'm').exec(control)?.[1] ?? '',
  );
  return { version, recipe: { name, architecture: architecture ?? '', version: packageVersion ?? '', tree } };
}
