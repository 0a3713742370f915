import { createHash } from 'node:crypto';
import {
  access,
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { exec } from '#lib/exec.ts';
import { lock } from '#lib/lock.ts';
import { distributionSources, type Release, readAptSources, readRelease } from '../images/apt-sources.ts';
import type { Docker } from './docker.ts';

/**
 * The two images that the template's Dockerfile begins with, made here and given their names, where no registry
 * supplies them: `node:24-…` from this machine's Debian mirror and the project's own node, and the watchdog's stand-in.
 */

export interface BaseImageNames {
  readonly node: string;
  readonly watchdog: string;
}

/** The npm that goes with Node 24. */
const npmVersion = '11.6.2';
const repository = resolve(import.meta.dirname, '../..');

/** Imports both images into the engine. Parts that take long to make are kept in `cacheDirectory`. */
export async function importBaseImages(docker: Docker, names: BaseImageNames, cacheDirectory: string): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-images-'));
  try {
    await importWatchdog(docker, names.watchdog, directory);
    await importNode(docker, names.node, directory, cacheDirectory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function importWatchdog(docker: Docker, name: string, directory: string): Promise<void> {
  const source = await readFile(join(repository, 'lab/servers/watchdog-stand-in.ts'), 'utf8');
  await writeFile(join(directory, 'fwatchdog'), `#!/usr/local/bin/node\n${stripTypeScriptTypes(source)}`);
  await chmod(join(directory, 'fwatchdog'), 0o755);
  const tar = join(directory, 'watchdog.tar');
  await exec('tar', ['--create', '--file', tar, '--directory', directory, 'fwatchdog']);
  await docker.run(['import', tar, name]);
}

async function importNode(docker: Docker, name: string, directory: string, cacheDirectory: string): Promise<void> {
  const tree = join(directory, 'tree');
  const local = join(tree, 'usr/local');
  const modules = join(local, 'lib/node_modules');
  for (const folder of [join(local, 'bin'), join(local, 'etc'), modules]) await mkdir(folder, { recursive: true });
  await copyFile(process.execPath, join(local, 'bin/node'));
  await exec('tar', ['--extract', '--file', await npmTarball(cacheDirectory), '--directory', modules]);
  await rename(join(modules, 'package'), join(modules, 'npm'));
  await symlink('../lib/node_modules/npm/bin/npm-cli.js', join(local, 'bin/npm'));
  await writeNpmConfiguration(join(local, 'etc'));

  const tar = join(directory, 'node.tar');
  await copyFile(await debianTarball(cacheDirectory), tar);
  const asRoot = ['--owner=root:0', '--group=root:0', '--mode=u=rwX,go=rX'];
  // Only new files: Docker takes no archive that names a folder twice.
  const names = ['bin', 'etc'].map(async (folder) =>
    (await readdir(join(local, folder))).map((name) => `${folder}/${name}`),
  );
  const added = [...(await Promise.all(names)).flat(), 'lib/node_modules'].map((name) => `usr/local/${name}`);
  await exec('tar', ['--append', '--file', tar, ...asRoot, '--directory', tree, ...added]);
  const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  await docker.run(['import', '--change', `ENV PATH=${path}`, tar, name]);
}

/** Lets npm inside the image reach its registry as npm on this machine does. */
async function writeNpmConfiguration(directory: string): Promise<void> {
  const lines: string[] = [];
  for (const key of ['registry', 'proxy', 'https-proxy', 'noproxy', 'strict-ssl', 'cafile']) {
    let value = (await npm(['config', 'get', key])).trim();
    if (value === '' || value === 'null' || value === 'undefined') continue;
    if (key === 'cafile') {
      await copyFile(value, join(directory, 'npm-ca.crt'));
      value = '/usr/local/etc/npm-ca.crt';
    }
    lines.push(`${key}=${value}\n`);
  }
  await writeFile(join(directory, 'npmrc'), lines.join(''));
}

async function npmTarball(cacheDirectory: string): Promise<string> {
  const path = join(cacheDirectory, `npm-${npmVersion}.tgz`);
  return made(path, 'npm-', async (partial) => {
    const folder = dirname(partial);
    await npm(['pack', `npm@${npmVersion}`, '--pack-destination', folder]);
    await rename(join(folder, `npm-${npmVersion}.tgz`), partial);
  });
}

/** A minimal system of this machine's release, from the mirror that this machine uses; made anew every week. */
async function debianTarball(cacheDirectory: string): Promise<string> {
  const release = await readRelease();
  const sources = distributionSources(await readAptSources(), release).map(
    ({ uri, suite, components }) => `deb [signed-by=${keyring(release)}] ${uri} ${suite} ${components.join(' ')}`,
  );
  if (sources.length === 0) throw new Error(`this machine has no apt source of ${release.codename}`);
  const args = ['--variant=minbase', '--mode=root', `--aptopt=Acquire::Languages "none"`, release.codename];
  const week = Math.floor(Date.now() / (7 * 24 * 3_600_000));
  const key = createHash('sha256')
    .update(JSON.stringify([args, sources, week]))
    .digest('hex')
    .slice(0, 12);
  const path = join(cacheDirectory, `container-${release.codename}-${key}.tar`);
  return made(path, `container-${release.codename}-`, async (partial) => {
    await exec('mmdebstrap', [...args, partial, ...sources], { env: { TMPDIR: tmpdir() } });
  });
}

function keyring(release: Release): string {
  return `/usr/share/keyrings/${release.distribution}-archive-keyring.gpg`;
}

/** The file at `path`. Where it is missing it is made once, and older files that begin with `prefix` are dropped. */
async function made(path: string, prefix: string, make: (partial: string) => Promise<void>): Promise<string> {
  const directory = dirname(path);
  await mkdir(directory, { recursive: true });
  await using _lock = await lock(join(directory, `${prefix}lock`));
  const there = await access(path).then(
    () => true,
    () => false,
  );
  if (there) return path;
  const work = await mkdtemp(join(directory, 'making-'));
  try {
    await make(join(work, 'made.tar'));
    await rename(join(work, 'made.tar'), path);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const stale = (await readdir(directory)).filter((name) => name.startsWith(prefix) && !name.endsWith('lock'));
  for (const name of stale) if (join(directory, name) !== path) await rm(join(directory, name));
  return path;
}

/** Runs this machine's npm with this machine's environment, and resolves with what it prints. */
async function npm(args: readonly string[]): Promise<string> {
  const env = Object.fromEntries(Object.entries(process.env).filter((entry): entry is [string, string] => !!entry[1]));
  // npm would leave Node's compile cache in the folder for temporary files.
  const quiet = { ...env, NODE_DISABLE_COMPILE_CACHE: '1' };
  return (await exec('npm', args, { env: quiet, cwd: repository })).stdout;
}
