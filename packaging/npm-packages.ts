import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

/** An npm package that is shipped. */
export interface NpmPackage {
  /** Its folder below the repository, such as `node_modules/got`. */
  readonly folder: string;
  readonly name: string;
  readonly version: string;
  /** SPDX expression of package.json, such as `MIT`. */
  readonly license: string;
}

/** The parts of package-lock.json (lockfileVersion 3) that are read here. */
const LockFile = z.object({
  packages: z.record(
    z.string(),
    z.object({
      version: z.string(),
      license: z.string().optional(),
      integrity: z.string().optional(),
      dev: z.boolean().optional(),
      cpu: z.union([z.string(), z.array(z.string())]).optional(),
    }),
  ),
});

async function lockedPackages(root: string) {
  const { packages } = LockFile.parse(JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')));
  return Object.entries(packages).filter(([folder]) => folder !== '');
}

const nameOf = (folder: string): string => folder.slice(folder.lastIndexOf('node_modules/') + 'node_modules/'.length);

/** The packages that the program needs on every architecture, by package-lock.json, in its order. Node is not one. */
export async function productionPackages(root: string): Promise<NpmPackage[]> {
  return (await lockedPackages(root))
    .filter(([, { dev, cpu }]) => dev !== true && cpu === undefined)
    .map(([folder, { version, license = 'unknown' }]) => ({ folder, name: nameOf(folder), version, license }));
}

/** An npm package with Node for one architecture. */
export interface NodePackage extends NpmPackage {
  /** Subresource integrity of its archive, such as `sha512-…`. */
  readonly integrity: string;
}

/** The package with Node for a Debian architecture, by package-lock.json. Throws where the lock file has none. */
export async function nodePackageFor(root: string, architecture: string): Promise<NodePackage> {
  const name = `node-linux-${architecture === 'amd64' ? 'x64' : architecture}`;
  const folder = `node_modules/${name}`;
  const [, found] = (await lockedPackages(root)).find(([locked]) => locked === folder) ?? [];
  if (found?.integrity === undefined)
    throw new Error(`package-lock.json has no ${name}: there is no Node for ${architecture}`);
  return { folder, name, version: found.version, license: found.license ?? 'unknown', integrity: found.integrity };
}
