import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { lock } from '#lib/lock.ts';
import { distributionSources, readAptSources, readRelease } from './apt-sources.ts';

/** A small root file system as a tar, as Ubuntu Touch publishes them, of the release that this machine runs. */
export interface TouchBase {
  readonly path: string;
  /** The series, such as `bookworm`. */
  readonly codename: string;
}

const weekMs = 7 * 86_400_000;
const here = (name: string) => new URL(name, import.meta.url);
/** `systemd` is one of today, with systemd; a `plain` one has no init. */
export type TouchBaseVariant = 'plain' | 'systemd';

const packages = [
  ...['apt', 'base-files', 'base-passwd', 'bash', 'coreutils', 'dash', 'debian-archive-keyring', 'debianutils'],
  ...['diffutils', 'dpkg', 'findutils', 'grep', 'gzip', 'libc-bin', 'mawk', 'perl-base', 'sed', 'tar', 'util-linux'],
];

/**
 * Makes it (a minute or two), or finds the one that was made in the last seven days. Its packages are unpacked and none of
 * their programs run, so that any machine makes it for any architecture. Needs root.
 */
export async function makeTouchBase(
  cacheDirectory: string,
  architecture: 'armhf' | 'arm64' | 'amd64',
  onLine: (line: string) => void,
  variant: TouchBaseVariant = 'plain',
): Promise<TouchBase> {
  const release = await readRelease();
  const { codename, distribution } = release;
  const recipe = await Promise.all(['touch-base.sh', 'touch-base.ts'].map((name) => readFile(here(name))));
  const key = createHash('sha256').update(Buffer.concat(recipe)).digest('hex').slice(0, 12);
  const name = `touch-${variant === 'plain' ? '' : `${variant}-`}${architecture}-${codename}`;
  const included = variant === 'plain' ? packages : [...packages, 'init-system-helpers', 'systemd'];
  const path = join(cacheDirectory, `${name}-${key}.tar`);
  await mkdir(cacheDirectory, { recursive: true });
  await using _lock = await lock(join(cacheDirectory, `${name}.lock`));
  const found = await stat(path).catch(() => null);
  if (found !== null && Date.now() - found.mtimeMs < weekMs) return { path, codename };
  const directory = await mkdtemp(join(cacheDirectory, 'making-'));
  try {
    onLine(`making a root file system for ${architecture} (a minute or two)`);
    // The others of its suites have newer versions of the same packages.
    const sources = distributionSources(await readAptSources(), release).filter(({ suite }) => suite === codename);
    const keyring = `/usr/share/keyrings/${distribution}-archive-keyring.gpg`;
    const left = ['doc', 'man', 'locale', 'info'].map((folder) => `--dpkgopt=path-exclude=/usr/share/${folder}/*`);
    const { stdout: proxy } = await exec('apt-config', ['dump', 'Acquire::http::Proxy']);
    await exec(
      'mmdebstrap',
      [
        ...['--mode=root', '--format=tar', '--variant=extract', `--architectures=${architecture}`, ...left],
        ...['--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"'],
        ...[...proxy.matchAll(/^(Acquire::http::Proxy) "(.+)";$/gm)].map(
          ([, option, url]) => `--aptopt=${option} "${url}"`,
        ),
        `--include=${included.join(',')}`,
        `--extract-hook=sh -eu '${here('touch-base.sh').pathname}' "$1"`,
        ...[codename, 'base.tar'],
        ...sources.map(
          ({ uri, suite, components }) => `deb [signed-by=${keyring}] ${uri} ${suite} ${components.join(' ')}`,
        ),
      ],
      { cwd: directory },
    );
    await rename(join(directory, 'base.tar'), path);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  for (const other of await readdir(cacheDirectory)) {
    if (other.startsWith(`${name}-`) && !path.endsWith(other)) await rm(join(cacheDirectory, other), { force: true });
  }
  return { path, codename };
}
