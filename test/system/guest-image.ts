import { chmod, copyFile, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { exec } from '#lib/exec.ts';
import type { Partition } from '#lib/image/partition.ts';

/**
 * A small disk image for tests of the guest: GPT with a root (p1, `cloudimg-rootfs`), an EFI system partition (p15,
 * `UEFI`) and /boot (p16, `BOOT`), and busybox for a system. Made in a second where a real one takes a minute.
 */
export interface TestImage {
  /** A qcow2 without a backing file. */
  readonly path: string;
  readonly partitions: readonly Partition[];
}

export interface TestImageOptions {
  /** Files by path in the image; they and their folders come on top of what every image has. */
  readonly files?: Readonly<Record<string, string>>;
  /** Targets of symbolic links by path; a link replaces the folder that an image would have there. */
  readonly links?: Readonly<Record<string, string>>;
  /**
   * Commands of debugfs(8) that damage the root file system as no tool would. Its metadata has no checksums then, so
   * that folders can be made of any bytes.
   */
  readonly tampering?: string;
}

/** Header of an ELF file for 32-bit Arm (machine 40). */
export const programForArm = `\x7fELF\x01\x01\x01${'\0'.repeat(9)}\x02\0\x28\0\x01${'\0'.repeat(31)}`;

const MiB = 1024 * 1024;
const root = { offsetBytes: 24 * MiB, sizeBytes: 32 * MiB };
const efi = { offsetBytes: 1 * MiB, sizeBytes: 4 * MiB };
const boot = { offsetBytes: 8 * MiB, sizeBytes: 8 * MiB };

const fstab = `# comment
LABEL=cloudimg-rootfs / ext4 discard,errors=remount-ro 0 1
LABEL=UEFI /boot/efi vfat umask=0077 0 1
LABEL=BOOT /boot ext3 defaults 0 2
LABEL=nowhere /data ext4 nofail 0 2
/dev/vda7 /srv ext4 defaults 0 2
`;

/** Makes the image `directory/name.qcow2`. */
export async function makeTestImage(
  directory: string,
  name: string,
  options: TestImageOptions = {},
): Promise<TestImage> {
  const tree = join(directory, `${name}.tree`);
  const raw = join(directory, `${name}.raw`);
  const path = join(directory, `${name}.qcow2`);
  const { tampering } = options;
  await writeSystem(tree, options);

  await exec('truncate', ['--size', String(64 * MiB), raw]);
  const entry = (number: number, { offsetBytes, sizeBytes }: typeof root, type: string) =>
    `${number} : start=${offsetBytes / 512}, size=${sizeBytes / 512}, type=${type}\n`;
  await exec('sfdisk', ['--quiet', raw], {
    input: `label: gpt\n${entry(1, root, '0FC63DAF-8483-4772-8E79-3D69D8477DE4')}${entry(15, efi, 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B')}${entry(16, boot, 'BC13C2FF-59E6-4262-A352-B275FD6F7172')}`,
  });
  const bootTree = `${tree}.boot`;
  await mkdir(join(bootTree, 'efi'), { recursive: true });
  await writeFile(join(bootTree, 'vmlinuz'), 'a kernel');
  await makeExt(
    raw,
    root,
    'ext4',
    'cloudimg-rootfs',
    rootUuid,
    tree,
    tampering === undefined ? [] : ['-O', '^metadata_csum'],
  );
  if (tampering !== undefined) {
    await exec('debugfs', ['-w', '-f', '-', `${raw}?offset=${root.offsetBytes}`], { input: tampering });
  }
  await makeExt(raw, boot, 'ext3', 'BOOT', bootUuid, bootTree);
  await exec('mformat', [
    '-i',
    `${raw}@@${efi.offsetBytes}`,
    '-T',
    String(efi.sizeBytes / 512),
    '-h',
    '16',
    '-s',
    '63',
    '-v',
    'UEFI',
    '-N',
    'ABCD1234',
    '::',
  ]);
  await exec('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path]);
  for (const used of [tree, bootTree, raw]) await rm(used, { recursive: true });
  return { path, partitions };
}

/** Writes the files of a root file system, with busybox as all its programs. */
export async function writeSystem(tree: string, { files = {}, links = {} }: TestImageOptions): Promise<void> {
  // The mount point /boot is missing, as systemd allows.
  for (const folder of ['dev', 'etc', 'proc', 'root', 'run', 'sys', 'tmp', 'usr/sbin', 'var/log', 'var/cache']) {
    if (links[`/${folder}`] === undefined) await mkdir(join(tree, folder), { recursive: true });
  }
  await mkdir(join(tree, 'usr/bin'), { recursive: true });
  await copyFile('/bin/busybox', join(tree, 'usr/bin/busybox'));
  await chmod(join(tree, 'usr/bin/busybox'), 0o755);
  const { stdout } = await exec('/bin/busybox', ['--list']);
  for (const applet of stdout.split('\n').filter((line) => line !== '' && line !== 'busybox')) {
    if (files[`/usr/bin/${applet}`] === undefined) await symlink('busybox', join(tree, 'usr/bin', applet));
  }
  await symlink('usr/bin', join(tree, 'bin'));
  for (const [file, text] of Object.entries({ '/etc/fstab': fstab, ...files })) {
    if (links[file] !== undefined) continue;
    await mkdir(dirname(join(tree, file)), { recursive: true });
    await writeFile(join(tree, file), text);
  }
  for (const [link, target] of Object.entries(links)) {
    await mkdir(dirname(join(tree, link)), { recursive: true });
    await symlink(target, join(tree, link));
  }
}

export const rootUuid = '5a1b2c3d-0001-4000-8000-00000000c10d';
const bootUuid = '5a1b2c3d-0002-4000-8000-00000000c10d';

const partitions: readonly Partition[] = [
  {
    ...{ number: 1, ...root, type: '0fc63daf-8483-4772-8e79-3d69d8477de4', name: null, partitionUuid: null },
    fileSystem: { type: 'ext4', label: 'cloudimg-rootfs', uuid: rootUuid },
  },
  {
    ...{ number: 15, ...efi, type: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b', name: null, partitionUuid: null },
    fileSystem: { type: 'vfat', label: 'UEFI', uuid: 'ABCD-1234' },
  },
  {
    ...{ number: 16, ...boot, type: 'bc13c2ff-59e6-4262-a352-b275fd6f7172', name: null, partitionUuid: null },
    fileSystem: { type: 'ext3', label: 'BOOT', uuid: bootUuid },
  },
];

async function makeExt(
  raw: string,
  place: typeof root,
  type: 'ext3' | 'ext4',
  label: string,
  uuid: string,
  tree: string,
  options: readonly string[] = [],
): Promise<void> {
  await exec('mke2fs', [
    ...['-q', '-F', '-t', type, ...options, '-L', label, '-U', uuid, '-d', tree],
    ...['-E', `offset=${place.offsetBytes},root_owner=0:0`, raw, `${place.sizeBytes / 1024}k`],
  ]);
}
