import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';

/**
 * Makes a medium with the boot equipment that Ubuntu's have had since 20.10: GRUB by El Torito and by a hybrid MBR, and
 * an EFI system partition that is appended and a partition of a GPT. Its kernel and its layer are nothing but bytes.
 */
export async function makeHybridMedium(folder: string, { layerBytes = 3_000_000 } = {}): Promise<string> {
  const content = join(folder, 'content');
  const image = 'boot/grub/i386-pc/eltorito.img';
  for (const name of ['boot/grub/i386-pc', 'EFI/boot', 'casper', '.disk']) {
    await mkdir(join(content, name), { recursive: true });
  }
  const modules = ['iso9660', 'normal', 'configfile', 'linux'];
  const grub = async (format: string, output: string, ...more: string[]) => {
    await exec('grub-mkimage', ['-O', format, '-p', '/boot/grub', '-o', join(content, output), ...modules, ...more]);
  };
  await grub('i386-pc-eltorito', image, 'biosdisk');
  await grub('x86_64-efi', 'EFI/boot/bootx64.efi');
  await writeFile(join(content, 'casper/minimal.squashfs'), Buffer.alloc(layerBytes, 'layer'));
  await writeFile(join(content, 'casper/vmlinuz'), 'kernel');
  await writeFile(join(content, 'casper/minimal.size'), '12345\n');
  await writeFile(join(content, 'md5sum.txt'), `${'0'.repeat(32)}  ./casper/minimal.squashfs\n`);
  const esp = join(folder, 'esp.img');
  await writeFile(esp, '');
  await truncate(esp, 2 * 2 ** 20);
  await exec('mformat', ['-i', esp, '-v', 'ESP', '::']);
  await exec('mcopy', ['-s', '-i', esp, join(content, 'EFI'), '::']);
  const path = join(folder, 'base.iso');
  await exec('xorriso', [
    ...['-as', 'mkisofs', '-quiet', '-r', '-V', 'Ubuntu-Lab 24.04 LTS amd64', '-J', '-joliet-long', '-l', '-o', path],
    ...['-b', image, '-c', 'boot.catalog', '-no-emul-boot', '-boot-load-size', '4', '-boot-info-table'],
    ...['--grub2-boot-info', '--grub2-mbr', '/usr/lib/grub/i386-pc/boot_hybrid.img', '-partition_offset', '16'],
    ...['--mbr-force-bootable', '-append_partition', '2', '28732ac11ff8d211ba4b00a0c93ec93b', esp],
    ...['-appended_part_as_gpt', '-iso_mbr_part_type', 'a2a0d0ebe5b9334487c068b6b72699c7', '-eltorito-alt-boot'],
    ...['-e', '--interval:appended_partition_2:::', '-no-emul-boot', content],
  ]);
  return path;
}
