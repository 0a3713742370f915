import { truncate, writeFile } from 'node:fs/promises';
import { exec } from '#lib/exec.ts';

export const rootUuid = '5a1b2c3d-0001-4000-8000-00000000c10d';
const sectorBytes = 512;

/** Where the root partition of `makeDisk` begins. */
export const rootOffsetBytes = 20480 * sectorBytes;

/**
 * A raw disk as cloud images have it, small: GPT with bios_grub (14), ESP (15) and an ext4 root (1) labelled
 * `cloudimg-rootfs`, holding text that compresses and bytes that do not. `sizeBytes` need not be whole clusters.
 */
export async function makeDisk(path: string, sizeBytes: number, workFolder: string): Promise<void> {
  await writeFile(path, '');
  await truncate(path, sizeBytes);
  const rootSectors = Math.floor((sizeBytes / sectorBytes - 34 - 20480) / 8) * 8;
  const table = [
    'label: gpt',
    'unit: sectors',
    'first-lba: 34',
    '14 : start=2048, size=8192, type=21686148-6449-6E6F-744E-656564454649',
    '15 : start=10240, size=8192, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI system"',
    `1 : start=20480, size=${rootSectors}, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4`,
  ];
  await exec('sfdisk', ['-q', path], { input: `${table.join('\n')}\n` });
  await writeFile(`${workFolder}/text`, 'nothing lasts but what is compressed\n'.repeat(200_000));
  await exec('dd', ['if=/dev/urandom', `of=${workFolder}/noise`, 'bs=64K', 'count=48', 'status=none']);
  const offset = `offset=${rootOffsetBytes},root_owner=0:0`;
  await exec('mke2fs', [
    '-q',
    '-F',
    '-t',
    'ext4',
    '-L',
    'cloudimg-rootfs',
    '-U',
    rootUuid,
    '-E',
    offset,
    '-d',
    workFolder,
    path,
    `${rootSectors / 2}k`,
  ]);
  await exec('mformat', [
    '-i',
    `${path}@@${10240 * sectorBytes}`,
    '-T',
    '8192',
    '-h',
    '16',
    '-s',
    '63',
    '-N',
    'abcd1234',
    '-v',
    'UEFI',
    '::',
  ]);
}

/** Runs qemu-io commands on an overlay or image, with discards passed on. */
export async function changeDisk(path: string, commands: readonly string[]): Promise<void> {
  const { stdout } = await exec('qemu-io', [
    '-f',
    'qcow2',
    '-d',
    'unmap',
    ...commands.flatMap((line) => ['-c', line]),
    path,
  ]);
  if (/failed|error/i.test(stdout)) throw new Error(stdout);
}
