import { createHash, randomUUID } from 'node:crypto';
import { access, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import { lock } from '#lib/lock.ts';
import { type AptSource, distributionSources, type Release, readAptSources, readRelease } from './apt-sources.ts';

/**
 * Makes a real, bootable cloud image in the layout of Ubuntu's: GPT with the root (p1, label cloudimg-rootfs), a BIOS
 * boot partition (p14) and an EFI system partition (p15, label UEFI), cloud-init, OpenSSH, a serial console. It is of
 * the release that this machine runs, from the mirror that this machine uses, so nothing but that mirror is needed.
 */

/** `plain` has /boot in the root as up to Ubuntu 23.04; `separate-boot` has it on p16, label BOOT, as since 23.10. */
export type BaseImageVariant = 'plain' | 'separate-boot';

export interface BaseImageOptions {
  /** Where images are kept; one is made anew each week, and when the recipe or the machine's sources change. */
  readonly cacheDirectory: string;
  readonly variant?: BaseImageVariant;
  /** Told in plain words what is done, one line at a time. */
  readonly onLine?: (line: string) => void;
  readonly signal?: AbortSignal;
}

export interface BaseImage extends Release {
  /** A compressed qcow2. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly variant: BaseImageVariant;
  /** Debian architecture. */
  readonly architecture: 'amd64';
  /** False when it was there already. */
  readonly made: boolean;
}

const sectorBytes = 512;
const MiB = 1024 * 1024;

interface PartitionPlan {
  readonly number: number;
  readonly startSector: number;
  readonly sectors: number;
  readonly type: string;
}

interface Layout {
  readonly diskBytes: number;
  readonly root: PartitionPlan;
  readonly biosBoot: PartitionPlan;
  readonly efi: PartitionPlan;
  readonly boot: PartitionPlan | null;
}

/** GPT partition types (UEFI specification 2.10, table 5.7, and the Discoverable Partitions Specification). */
const partitionTypes = {
  linux: '0FC63DAF-8483-4772-8E79-3D69D8477DE4',
  biosBoot: '21686148-6449-6E6F-744E-656564454649',
  efi: 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B',
  extendedBoot: 'BC13C2FF-59E6-4262-A352-B275FD6F7172',
} as const;

const biosBoot = { number: 14, startSector: 2_048, sectors: 8_192, type: partitionTypes.biosBoot };
const efi = { number: 15, startSector: 10_240, sectors: 217_088, type: partitionTypes.efi };

/** Numbers, starts and sizes as in Ubuntu's own images: 22.04's for `plain`, 24.04's for `separate-boot`. */
const layouts: Readonly<Record<BaseImageVariant, Layout>> = {
  plain: {
    diskBytes: 2_361_393_152,
    root: { number: 1, startSector: 227_328, sectors: 4_384_728, type: partitionTypes.linux },
    biosBoot,
    efi,
    boot: null,
  },
  'separate-boot': {
    diskBytes: 3_584 * MiB,
    root: { number: 1, startSector: 2_099_200, sectors: 5_240_792, type: partitionTypes.linux },
    biosBoot,
    efi,
    boot: { number: 16, startSector: 227_328, sectors: 1_869_824, type: partitionTypes.extendedBoot },
  },
};

/** What is installed on top of the required packages, as found in cloud images of both distributions. */
const packages = [
  'init systemd-sysv udev dbus kmod initramfs-tools',
  'apt-utils ca-certificates gnupg adduser sudo less nano procps',
  'iproute2 iputils-ping netbase netplan.io',
  'e2fsprogs fdisk cloud-init cloud-guest-utils openssh-server',
  'grub-pc grub-efi-amd64-bin',
].flatMap((line) => line.split(' '));
/** Installed where the release has them: systemd-resolved is a package of its own since Debian 12 and Ubuntu 23.04. */
const packagesWhereKnown = ['systemd-resolved'];
const kernels: Readonly<Record<string, string>> = { debian: 'linux-image-cloud-amd64', ubuntu: 'linux-image-virtual' };

/**
 * Makes the image, or finds the one made before, as root or as the root of a user namespace (rootless.ts). Two at a time
 * wait for each other. Throws ImageBuilderError, or the reason of the signal; nothing half-made is left.
 */
export async function makeBaseImage(options: BaseImageOptions): Promise<BaseImage> {
  const { cacheDirectory, variant = 'plain', onLine = () => {}, signal } = options;
  if (process.arch !== 'x64') {
    throw new ImageBuilderError('guest.unavailable', 'base images can be made on amd64 machines only');
  }
  const release = await readRelease();
  const sources = distributionSources(await readAptSources(), release);
  if (sources.length === 0) {
    throw new ImageBuilderError(
      'guest.unavailable',
      `the apt sources of this machine name no http mirror of ${release.distribution} ${release.codename}`,
    );
  }
  const recipe = await readRecipe();
  const key = createHash('sha256')
    .update(JSON.stringify([recipe, sources, variant, week(new Date())]))
    .digest('hex');
  const prefix = `base-${release.codename}-${variant}-`;
  const path = join(cacheDirectory, `${prefix}${key.slice(0, 12)}.qcow2`);
  const describe = async (made: boolean): Promise<BaseImage> => {
    const { size } = await stat(path);
    return { ...release, path, sizeBytes: size, variant, architecture: 'amd64', made };
  };

  await mkdir(cacheDirectory, { recursive: true });
  await using _lock = await lock(join(cacheDirectory, `${prefix}lock`), signal === undefined ? {} : { signal });
  if (await exists(path)) return await describe(false);

  // Not in the folder for temporary files: that is often in memory, and this takes 1.5 GB.
  const directory = join(cacheDirectory, `${prefix}making`);
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory);
  try {
    const output = join(directory, 'image.qcow2');
    await build({ directory, variant, release, sources, recipe, output, onLine, signal });
    await rename(output, path);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  for (const name of await readdir(cacheDirectory)) {
    const older = name.startsWith(prefix) && name.endsWith('.qcow2') && join(cacheDirectory, name) !== path;
    if (older) await rm(join(cacheDirectory, name), { force: true });
  }
  return await describe(true);
}

interface BuildContext {
  readonly directory: string;
  readonly variant: BaseImageVariant;
  readonly release: Release;
  readonly sources: readonly AptSource[];
  readonly recipe: Recipe;
  readonly output: string;
  readonly onLine: (line: string) => void;
  readonly signal: AbortSignal | undefined;
}

async function build(context: BuildContext): Promise<void> {
  const { directory, variant, onLine, signal } = context;
  const layout = layouts[variant];
  const rootUuid = randomUUID();
  const bootUuid = layout.boot === null ? '' : randomUUID();
  const run = { cwd: directory, ...(signal === undefined ? {} : { signal }) };

  const { distribution, codename } = context.release;
  const host = new URL(context.sources[0]?.uri ?? '').host;
  onLine(`Installing ${distribution} ${codename} from ${host} into an empty folder (mmdebstrap; about a minute)`);
  await installRoot(context, { rootUuid, bootUuid });

  onLine('Laying out the disk and its file systems (about 10 seconds)');
  const raw = join(directory, 'disk.raw');
  await makeDisk(raw, layout, run);
  await exec('sh', ['-c', context.recipe.makeFilesystems], {
    ...run,
    env: {
      IMAGE_ROOT_UUID: rootUuid,
      IMAGE_ROOT_OFFSET: String(layout.root.startSector * sectorBytes),
      IMAGE_ROOT_KIB: String(layout.root.sectors / 2),
      IMAGE_BOOT_UUID: bootUuid,
      IMAGE_BOOT_OFFSET: String((layout.boot?.startSector ?? 0) * sectorBytes),
      IMAGE_BOOT_KIB: String((layout.boot?.sectors ?? 0) / 2),
    },
  });
  const esp = `disk.raw@@${layout.efi.startSector * sectorBytes}`;
  await exec(
    'mformat',
    ['-i', esp, '-T', String(layout.efi.sectors), '-h', '255', '-s', '63', '-F', '-v', 'UEFI', '::'],
    run,
  );
  await exec('mmd', ['-i', esp, '::/EFI', '::/EFI/BOOT'], run);
  await exec('mcopy', ['-i', esp, 'core.efi', '::/EFI/BOOT/BOOTX64.EFI'], run);
  await writeBiosLoader(directory, raw, layout);

  onLine('Compressing the image (about 15 seconds)');
  const compress = ['convert', '-c', '-m', '8', '-W', '-f', 'raw', '-O', 'qcow2', raw, context.output];
  await exec('qemu-img', compress, run);
}

/** Leaves the root in `tree`, and grub's three images beside it. */
async function installRoot(context: BuildContext, uuids: { rootUuid: string; bootUuid: string }): Promise<void> {
  const { release, recipe, directory, signal, onLine } = context;
  const known = await knownPackages(packagesWhereKnown);
  const include = [...packages, ...known, kernels[release.distribution]].join(',');
  const preseed = 'echo "grub-pc grub-pc/install_devices_empty boolean true" | chroot "$1" debconf-set-selections';
  const loaders = ['i386-pc/boot.img', 'i386-pc/core.img', 'x86_64-efi/core.efi'];
  await exec(
    'mmdebstrap',
    [
      ...['--mode=root', '--format=directory'],
      '--variant=minbase',
      `--include=${include}`,
      '--aptopt=APT::Install-Recommends "false"',
      '--aptopt=Acquire::Languages "none"',
      ...(await proxyOptions()),
      '--dpkgopt=force-unsafe-io',
      `--essential-hook=${preseed}`,
      `--customize-hook=${recipe.configureRoot}`,
      ...loaders.map((file) => `--customize-hook=download /boot/grub/${file} ${file.replace(/.*\//, '')}`),
      release.codename,
      'tree',
      ...context.sources.map((source) => sourceLine(source, release)),
    ],
    {
      cwd: directory,
      env: {
        IMAGE_ROOT_UUID: uuids.rootUuid,
        IMAGE_BOOT_UUID: uuids.bootUuid,
        IMAGE_DISTRIBUTION: release.distribution,
        TMPDIR: tmpdir(),
      },
      ...(signal === undefined ? {} : { signal }),
      onLine: (line) => {
        const step = /^I: (downloading|extracting|installing|creating|cleaning)(.*)/.exec(line);
        if (step !== null) onLine(`  ${step[1]}${step[2]}`);
      },
    },
  );
}

/** A line for the image's own sources.list: signed by the distribution's keyring, which is in the image too. */
function sourceLine(source: AptSource, release: Release): string {
  const keyring = `/usr/share/keyrings/${release.distribution}-archive-keyring.gpg`;
  return `deb [signed-by=${keyring}] ${source.uri} ${source.suite} ${source.components.join(' ')}`;
}

/** Those of `names` that this machine's apt, and so the image's release, has. */
async function knownPackages(names: readonly string[]): Promise<string[]> {
  const { stdout } = await exec('apt-cache', ['show', '--no-all-versions', ...names], { okExitCodes: [0, 100] });
  return names.filter((name) => new RegExp(`^Package: ${name}$`, 'm').test(stdout));
}

/** The proxy that this machine's apt uses, which mmdebstrap does not take over by itself. */
async function proxyOptions(): Promise<string[]> {
  const { stdout } = await exec('apt-config', ['dump', 'Acquire']);
  return [...stdout.matchAll(/^(Acquire::https?::Proxy) "(.+)";$/gim)].map(
    ([, name, value]) => `--aptopt=${name} "${value}"`,
  );
}

async function makeDisk(raw: string, layout: Layout, run: { cwd: string; signal?: AbortSignal }): Promise<void> {
  await using disk = await open(raw, 'w');
  await disk.truncate(layout.diskBytes);
  const partitions = [layout.biosBoot, layout.efi, layout.boot, layout.root].filter((partition) => partition !== null);
  const table = partitions.map(
    ({ number, startSector, sectors, type }) => `${number} : start=${startSector}, size=${sectors}, type=${type}`,
  );
  const input = ['label: gpt', 'unit: sectors', 'first-lba: 34', ...table, ''].join('\n');
  await exec('sfdisk', ['--quiet', raw], { ...run, input });
}

/**
 * What grub-bios-setup does, on a plain file: boot.img into the first sector, pointing at core.img in the BIOS boot
 * partition, whose first sector lists where the rest of it is. Offsets as in grub's include/grub/i386/pc/boot.h.
 */
async function writeBiosLoader(directory: string, raw: string, layout: Layout): Promise<void> {
  const firstSector = layout.biosBoot.startSector;
  const boot = await readFile(join(directory, 'boot.img'));
  const image = await readFile(join(directory, 'core.img'));
  const sectors = Math.ceil(image.length / sectorBytes);
  const core = Buffer.alloc(sectors * sectorBytes);
  image.copy(core);

  boot.writeBigUInt64LE(BigInt(firstSector), 0x5c); // where core.img begins
  boot[0x64] = 0xff; // the drive is the one the BIOS booted from
  boot.writeUInt16LE(0x9090, 0x66); // no check for floppies: two NOPs
  core.writeBigUInt64LE(BigInt(firstSector + 1), 0x1f4); // block list: the rest of core.img …
  core.writeUInt16LE(sectors - 1, 0x1fc); // … is this long …
  core.writeUInt16LE(0x820, 0x1fe); // … and is loaded at this segment

  await using disk = await open(raw, 'r+');
  await disk.write(boot, 0, 440, 0); // the partition table of the protective MBR follows at 440
  await disk.write(core, 0, core.length, firstSector * sectorBytes);
  // mformat leaves a partition entry in the boot sector of the ESP, which grub-probe would warn of each time.
  await disk.write(Buffer.alloc(64), 0, 64, layout.efi.startSector * sectorBytes + 446);
}

interface Recipe {
  readonly configureRoot: string;
  readonly makeFilesystems: string;
  /** This file: a change of it makes images anew. */
  readonly code: string;
}

async function readRecipe(): Promise<Recipe> {
  const read = (name: string) => readFile(new URL(name, import.meta.url), 'utf8');
  const [configureRoot, makeFilesystems, code] = await Promise.all(
    ['configure-root.sh', 'make-filesystems.sh', 'base-image.ts'].map(read),
  );
  if (configureRoot === undefined || makeFilesystems === undefined || code === undefined) throw new Error('no recipe');
  return { configureRoot, makeFilesystems, code };
}

/** Year and number of the week, for example `2025-47`; weeks are counted from 1 January. */
function week(date: Date): string {
  const days = Math.floor((date.getTime() - Date.UTC(date.getUTCFullYear(), 0, 1)) / 86_400_000);
  return `${date.getUTCFullYear()}-${Math.floor(days / 7)}`;
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
