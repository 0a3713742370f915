import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { environmentFile } from './environment.ts';
import { below, installation, programFolder } from './installation.ts';
import { writeTree } from './tree.ts';

/** A package to make. */
export interface Release {
  /** The repository. */
  readonly root: string;
  /** As in package.json. */
  readonly version: string;
  /** Time of every file, in seconds since 1970. */
  readonly seconds: number;
  /** Folder that gets the package. */
  readonly to: string;
}

/**
 * Makes the archive for /usr/local, for every architecture, without Node; resolves with its path. The same files give the
 * same bytes.
 */
export async function makeTarball({ root, version, seconds, to }: Release): Promise<string> {
  const name = `imagebuilder-${version}`;
  const tree = new Map([
    ...(await installation(root, '/usr/local')),
    [`${programFolder}/environment`, { content: environmentFile() }] as const,
    ['share/doc/imagebuilder/LICENSE', { content: await readFile(join(root, 'LICENSE')) }] as const,
  ]);
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-tarball-'));
  try {
    await writeTree(below(name, tree), directory, seconds);
    const path = join(to, `${name}.tar.gz`);
    const order = ['--sort=name', '--format=gnu', '--owner=0', '--group=0', '--numeric-owner'];
    const times = [`--mtime=@${seconds}`, '--use-compress-program=gzip --best --no-name'];
    await exec('tar', [...order, ...times, '--create', '--file', path, '--directory', directory, name]);
    return path;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
