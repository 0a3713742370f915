import { mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { lock } from '#lib/lock.ts';
import { distributionSources, readAptSources, readRelease } from './apt-sources.ts';
import type { BaseImage } from './base-image.ts';

/**
 * The smallest image for useful builds: dpkg, apt and their dependencies, in one partition of 320 MiB, some 45 MB
 * compressed. It does not boot and has no sources of its own, so a build fetches from its PPAs alone.
 */

const recipe = 1;
const weekMs = 7 * 86_400_000;
const diskBytes = 320 * 1024 * 1024;
const sectorBytes = 512;
const root = { startSector: 2048, sectors: diskBytes / sectorBytes - 2 * 2048 };
const linuxType = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';

/** Makes the image (half a minute), or finds the one made in the last seven days. Needs root. */
export async function makeSmallImage(
  cacheDirectory: string,
  onLine: (line: string) => void,
): Promise<Pick<BaseImage, 'path' | 'codename' | 'sizeBytes'>> {
  const { codename, distribution } = await readRelease();
  const path = join(cacheDirectory, `small-${codename}-${recipe}.qcow2`);
  await mkdir(cacheDirectory, { recursive: true });
  await using _lock = await lock(`${path}.lock`);
  const found = await stat(path).catch(() => null);
  if (found === null || Date.now() - found.mtimeMs > weekMs) {
    onLine('making a small base image (half a minute)');
    const directory = await mkdtemp(join(cacheDirectory, 'making-'));
    try {
      await makeRoot(directory, codename, distribution);
      await rename(await makeDisk(directory), path);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }
  return { path, codename, sizeBytes: (await stat(path)).size };
}

/** The file system's content, in the folder `tree`. */
async function makeRoot(directory: string, codename: string, distribution: string): Promise<void> {
  const sources = distributionSources(await readAptSources(), await readRelease());
  const keyring = `/usr/share/keyrings/${distribution}-archive-keyring.gpg`;
  const left = ['doc', 'man', 'locale', 'info', 'zoneinfo'].map(
    (name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`,
  );
  const { stdout: proxy } = await exec('apt-config', ['dump', 'Acquire::http::Proxy']);
  await exec(
    'mmdebstrap',
    [
      ...['--mode=root', '--format=directory', '--variant=apt', '--dpkgopt=force-unsafe-io', ...left],
      ...['--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"'],
      ...[...proxy.matchAll(/^(Acquire::http::Proxy) "(.+)";$/gm)].map(([, name, url]) => `--aptopt=${name} "${url}"`),
      codename,
      'tree',
      ...sources.map(
        ({ uri, suite, components }) => `deb [signed-by=${keyring}] ${uri} ${suite} ${components.join(' ')}`,
      ),
    ],
    { cwd: directory },
  );
  const at = (path: string) => join(directory, 'tree', path);
  await writeFile(at('etc/fstab'), 'LABEL=cloudimg-rootfs / ext4 discard,errors=remount-ro 0 1\n');
  await writeFile(at('etc/machine-id'), '');
  await writeFile(at('etc/apt/sources.list'), '');
  for (const path of ['etc/apt/apt.conf.d/99mmdebstrap', 'etc/dpkg/dpkg.cfg.d/99mmdebstrap', 'var/log/apt']) {
    await rm(at(path), { recursive: true, force: true });
  }
}

/** The disk with its file system; resolves with its path. */
async function makeDisk(directory: string): Promise<string> {
  const run = { cwd: directory };
  await exec('truncate', ['--size', String(diskBytes), 'disk.raw'], run);
  const table = `label: gpt\nunit: sectors\n1 : start=${root.startSector}, size=${root.sectors}, type=${linuxType}\n`;
  await exec('sfdisk', ['--quiet', 'disk.raw'], { ...run, input: table });
  const extended = `offset=${root.startSector * sectorBytes},lazy_itable_init=1,root_owner=0:0`;
  const options = ['-q', '-F', '-t', 'ext4', '-L', 'cloudimg-rootfs', '-d', 'tree', '-E', extended];
  await exec('mke2fs', [...options, 'disk.raw', `${(root.sectors * sectorBytes) / 1024}k`], run);
  await exec('qemu-img', ['convert', '-c', '-m', '8', '-W', '-f', 'raw', '-O', 'qcow2', 'disk.raw', 'disk.qcow2'], run);
  return join(directory, 'disk.qcow2');
}
