import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { exec } from '#lib/exec.ts';
import type { LicensedPackage } from './copyright.ts';
import { nodePackageFor } from './npm-packages.ts';

/**
 * Node for a Debian architecture: the one of node_modules, or for another machine's architecture npm's, from its cache or
 * its registry, unpacked into `directory`. Throws where its digest is not that of package-lock.json.
 */
export async function findNode(root: string, architecture: string, directory: string): Promise<LicensedPackage> {
  const wanted = await nodePackageFor(root, architecture);
  const installed = join(root, wanted.folder);
  const isInstalled = await access(join(installed, 'bin/node')).then(
    () => true,
    () => false,
  );
  if (isInstalled) return { ...wanted, files: installed };
  await mkdir(directory, { recursive: true });
  await exec('npm', ['pack', '--prefer-offline', '--pack-destination', directory, `${wanted.name}@${wanted.version}`], {
    // With npm's settings, cache and proxy of this user.
    env: Object.fromEntries(Object.entries(process.env).map(([name, value]) => [name, value ?? ''])),
    cwd: directory,
  });
  const [archive = ''] = (await readdir(directory)).filter((name) => name.endsWith('.tgz'));
  const hash = createHash('sha512');
  await pipeline(createReadStream(join(directory, archive)), hash);
  const found = `sha512-${hash.digest('base64')}`;
  if (found !== wanted.integrity) {
    throw new Error(`${wanted.name} ${wanted.version} has the digest ${found}, not that of package-lock.json`);
  }
  // Its folder in the archive is `package`.
  await exec('tar', ['--extract', '--file', archive, '--no-same-owner'], { cwd: directory });
  return { ...wanted, files: join(directory, 'package') };
}
