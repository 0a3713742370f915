import { createHash, randomUUID } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { lock } from '#lib/lock.ts';
import { distributionSources, readAptSources, readRelease } from './apt-sources.ts';

/**
 * Two live media of the release that this machine runs, from its packages alone: small, and bootable by BIOS and by UEFI
 * with Secure Boot, from a CD or as a disk, as Ubuntu's have been since 20.10.
 */
export interface LiveMedia {
  /** One layer, `/live/filesystem.squashfs`, as Debian's live media (live-boot) have it. */
  readonly single: string;
  /** Three layers below `/casper`, with lists and sizes and `install-sources.yaml`, as Ubuntu's have them. */
  readonly layered: string;
  readonly codename: string;
}

const weekMs = 7 * 86_400_000;
const here = (name: string) => new URL(name, import.meta.url);

/** Makes the media (two minutes), or finds those made in the last seven days. Needs root. */
export async function makeLiveMedia(cacheDirectory: string, onLine: (line: string) => void): Promise<LiveMedia> {
  const { codename } = await readRelease();
  const recipe = await Promise.all(['live-layers.sh', 'live-media.ts'].map((name) => readFile(here(name))));
  const key = createHash('sha256').update(Buffer.concat(recipe)).digest('hex').slice(0, 12);
  const path = (kind: 'single' | 'layered') => join(cacheDirectory, `live-${kind}-${codename}-${key}.iso`);
  const media = { single: path('single'), layered: path('layered'), codename };
  await mkdir(cacheDirectory, { recursive: true });
  await using _lock = await lock(join(cacheDirectory, `live-${codename}.lock`));
  // The layered one is the last to be put there.
  const found = await stat(media.layered).catch(() => null);
  if (found !== null && Date.now() - found.mtimeMs < weekMs) return media;
  const directory = await mkdtemp(join(cacheDirectory, 'making-'));
  try {
    onLine('making two live media (two minutes)');
    await makeTrees(directory);
    await readLoaders(directory);
    await rename(await makeSingle(directory), media.single);
    await rename(await makeLayered(directory), media.layered);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  for (const name of await readdir(cacheDirectory)) {
    const older = /^live-(single|layered)-.*\.iso$/.test(name) && !name.endsWith(`-${key}.iso`);
    if (older) await rm(join(cacheDirectory, name), { force: true });
  }
  return media;
}

/** The file trees `minimal`, `standard` and `live`, and a kernel that boots them. */
async function makeTrees(directory: string): Promise<void> {
  const release = await readRelease();
  const sources = distributionSources(await readAptSources(), release);
  const keyring = `/usr/share/keyrings/${release.distribution}-archive-keyring.gpg`;
  const left = ['doc', 'man', 'locale', 'info', 'zoneinfo'].map(
    (name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`,
  );
  const { stdout: proxy } = await exec('apt-config', ['dump', 'Acquire::http::Proxy']);
  const packages = 'systemd-sysv udev kmod linux-image-cloud-amd64 live-boot live-boot-initramfs-tools zstd';
  await exec(
    'mmdebstrap',
    [
      ...['--mode=root', '--format=directory', '--variant=apt', '--dpkgopt=force-unsafe-io', ...left],
      ...['--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"'],
      ...[...proxy.matchAll(/^(Acquire::http::Proxy) "(.+)";$/gm)].map(([, name, url]) => `--aptopt=${name} "${url}"`),
      `--include=${packages.split(' ').join(',')}`,
      `--customize-hook=sh -eu '${here('live-layers.sh').pathname}' "$1" '${directory}'`,
      ...[release.codename, 'minimal'],
      ...sources.map(
        ({ uri, suite, components }) => `deb [signed-by=${keyring}] ${uri} ${suite} ${components.join(' ')}`,
      ),
    ],
    { cwd: directory },
  );
}

const signedPackages = ['shim-signed', 'shim-helpers-amd64-signed', 'grub-efi-amd64-signed'];

/** The boot loader for BIOS, and the signed ones for UEFI in the folder `EFI` and in a FAT image of it. */
async function readLoaders(directory: string): Promise<void> {
  const run = { cwd: directory };
  await exec('apt-get', ['-q', 'download', '-o', 'APT::Sandbox::User=root', ...signedPackages], run);
  for (const name of await readdir(directory)) {
    if (name.endsWith('.deb')) await exec('dpkg-deb', ['--extract', name, 'signed'], run);
  }
  const boot = join(directory, 'EFI', 'boot');
  await mkdir(boot, { recursive: true });
  for (const [from, to] of [
    ['shim/shimx64.efi.signed', 'bootx64.efi'],
    ['shim/mmx64.efi.signed', 'mmx64.efi'],
    ['grub/x86_64-efi-signed/gcdx64.efi.signed', 'grubx64.efi'],
  ] as const) {
    await copyFile(join(directory, 'signed/usr/lib', from), join(boot, to));
  }
  await writeFile(join(directory, 'esp.img'), '');
  await truncate(join(directory, 'esp.img'), 8 * 2 ** 20);
  await exec('mformat', ['-i', 'esp.img', '-v', 'ESP', '::'], run);
  await exec('mcopy', ['-s', '-i', 'esp.img', 'EFI', '::'], run);
  const modules = 'biosdisk iso9660 part_gpt part_msdos search search_fs_file normal configfile linux test serial';
  await exec(
    'grub-mkimage',
    ['-O', 'i386-pc-eltorito', '-p', '/boot/grub', '-o', 'bios.img', ...modules.split(' ')],
    run,
  );
}

async function makeSingle(directory: string): Promise<string> {
  const medium = join(directory, 'single');
  await mkdir(join(medium, 'live'), { recursive: true });
  // One file tree of all three layers.
  const view = join(directory, 'merged');
  await mkdir(view);
  const script =
    'mount -t overlay -o "ro,lowerdir=live:standard:minimal" overlay merged && exec mksquashfs merged "$@"';
  await exec(
    'unshare',
    ['--mount', 'sh', '-c', script, 'merged', 'single/live/filesystem.squashfs', ...packing('zstd')],
    { cwd: directory },
  );
  const { list, bytes } = await describeLayer(directory, 'live');
  await writeFile(join(medium, 'live/filesystem.packages'), list);
  await writeFile(join(medium, 'live/filesystem.size'), `${bytes}\n`);
  return await makeIso(directory, medium, { folder: 'live', words: 'boot=live', label: 'Debian live small' });
}

async function makeLayered(directory: string): Promise<string> {
  const medium = join(directory, 'layered');
  const casper = join(medium, 'casper');
  await mkdir(casper, { recursive: true });
  const sizes = { minimal: 0, standard: 0, live: 0 };
  let [below, sum, before] = ['', 0, ''];
  for (const [layer, compressor] of [
    ['minimal', 'gzip'],
    ['standard', 'xz'],
    ['live', 'xz'],
  ] as const) {
    const name = below === '' ? layer : `${below}.${layer}`;
    await exec('mksquashfs', [layer, `layered/casper/${name}.squashfs`, ...packing(compressor)], { cwd: directory });
    const { list, bytes } = await describeLayer(directory, layer);
    const known = new Set(before.split('\n'));
    const added = list.split('\n').filter((line) => line === '' || !known.has(line));
    await writeFile(join(casper, `${name}.manifest.full`), list);
    await writeFile(join(casper, `${name}.manifest`), added.join('\n'));
    await writeFile(join(casper, `${name}.size`), `${bytes}\n`);
    sum += bytes;
    sizes[layer] = sum;
    [below, before] = [name, list];
    if (layer === 'standard') {
      await writeFile(join(casper, 'filesystem.manifest'), list);
      await writeFile(join(casper, 'filesystem.size'), `${sum}\n`);
    }
  }
  await writeFile(join(casper, 'install-sources.yaml'), installSources(sizes));
  const layers = ['minimal', 'minimal.standard', 'minimal.standard.live'].map((name) => `${name}.squashfs`);
  // By this list, and not by the names as casper does, live-boot lays the layers one above the other.
  await writeFile(join(casper, 'minimal.standard.live.module'), `${layers.join('\n')}\n`);
  const words = `boot=live live-media-path=/casper module=minimal.standard.live layerfs-path=${layers[2]}`;
  return await makeIso(directory, medium, { folder: 'casper', words, label: 'Ubuntu-like 24.04 LTS amd64' });
}

const packing = (compressor: 'gzip' | 'xz' | 'zstd') => [
  ...['-noappend', '-quiet', '-no-progress', '-xattrs', '-comp', compressor],
  // Quick, where the compressor has levels.
  ...(compressor === 'xz' ? [] : ['-Xcompression-level', '3']),
];

/** The packages of a layer with all below it, one a line, and the bytes of its own files. */
async function describeLayer(directory: string, layer: string): Promise<{ list: string; bytes: number }> {
  const run = { cwd: directory };
  const format = `--showformat=\${Package}\t\${Version}\n`;
  const { stdout: list } = await exec('dpkg-query', [`--admindir=${layer}/var/lib/dpkg`, '--show', format], run);
  const { stdout } = await exec('du', ['--block-size=1', '--summarize', layer], run);
  return { list, bytes: Number.parseInt(stdout, 10) };
}

/** As Ubuntu's installer reads it. */
function installSources({ minimal, standard }: { minimal: number; standard: number }): string {
  return `kernel:
  default: linux-image-cloud-amd64
sources:
- default: true
  description: {en: The default.}
  id: small-standard
  locale_support: locale-only
  name: {en: Small}
  path: minimal.standard.squashfs
  size: ${standard}
  type: fsimage-layered
  variant: server
  variations:
    default: {path: minimal.standard.squashfs, size: ${standard}}
- default: false
  description: {en: With less.}
  id: small-minimal
  locale_support: none
  name: {en: Small, minimal}
  path: minimal.squashfs
  size: ${minimal}
  type: fsimage-layered
  variant: server
version: 2
`;
}

interface Boot {
  /** Folder of the kernel. */
  readonly folder: string;
  /** The kernel's command line. */
  readonly words: string;
  /** Volume id. */
  readonly label: string;
}

/** Adds what boots to the folder `medium`, and makes an ISO of it. Resolves with its path. */
async function makeIso(directory: string, medium: string, { folder, words, label }: Boot): Promise<string> {
  const at = (path: string) => join(medium, path);
  await mkdir(at('.disk'));
  await writeFile(at('.disk/info'), `${label} - Release amd64 (20261126)\n`);
  await writeFile(at('.disk/casper-uuid-generic'), `${randomUUID()}\n`);
  for (const name of ['vmlinuz', 'initrd']) await copyFile(join(directory, name), at(join(folder, name)));
  await mkdir(at('boot/grub/i386-pc'), { recursive: true });
  await writeFile(
    at('boot/grub/grub.cfg'),
    `set timeout=0
menuentry "Try or Install" {
	linux	/${folder}/vmlinuz ${words} console=tty0 console=ttyS0 ---
	initrd	/${folder}/initrd
}
`,
  );
  await copyFile(join(directory, 'bios.img'), at('boot/grub/i386-pc/eltorito.img'));
  await exec('cp', ['-r', join(directory, 'EFI'), medium]);
  await writeFile(at('md5sum.txt'), await listSums(medium));
  const output = `${medium}.iso`;
  const image = 'boot/grub/i386-pc/eltorito.img';
  await exec('xorriso', [
    ...['-as', 'mkisofs', '-quiet', '-r', '-V', label, '-J', '-joliet-long', '-l', '-iso-level', '3', '-o', output],
    ...['-b', image, '-c', 'boot.catalog', '-no-emul-boot', '-boot-load-size', '4', '-boot-info-table'],
    ...['--grub2-boot-info', '--grub2-mbr', '/usr/lib/grub/i386-pc/boot_hybrid.img', '-partition_offset', '16'],
    ...['--mbr-force-bootable', '-append_partition', '2', espType, join(directory, 'esp.img')],
    ...['-appended_part_as_gpt', '-iso_mbr_part_type', basicDataType, '-eltorito-alt-boot'],
    ...['-e', '--interval:appended_partition_2:::', '-no-emul-boot', medium],
  ]);
  return output;
}

/** GPT types as the bytes of the table: those of EFI system partitions, and of Microsoft's basic data. */
const espType = '28732ac11ff8d211ba4b00a0c93ec93b';
const basicDataType = 'a2a0d0ebe5b9334487c068b6b72699c7';

/** md5sum.txt as Ubuntu's media have it: without what the making of the ISO changes, in the order of the bytes. */
async function listSums(medium: string): Promise<string> {
  const entries = await readdir(medium, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  const paths = files.map((file) => `.${file.slice(medium.length)}`).sort();
  const kept = paths.filter((path) => !/eltorito\.img$|casper-uuid/.test(path));
  const { stdout } = await exec('md5sum', ['--', ...kept], { cwd: medium });
  return stdout;
}
