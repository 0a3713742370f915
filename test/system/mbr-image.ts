import { open, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import type { GuestSession } from '#lib/guest/guest.ts';
import type { Partition } from '#lib/image/partition.ts';

const MiB = 2 ** 20;

/**
 * Makes a disk of older clouds and of installers in `directory` from the root of a real image: a partition table in the
 * master boot record with one partition, GRUB in the gap before it, /etc/fstab with the name of a device, and initial
 * ramdisks for only the machine that makes them. `session` is the real image, opened. Resolves with the path of a qcow2.
 */
export async function makeMbrImage(
  directory: string,
  { path, root, session }: { path: string; root: Partition; session: GuestSession },
): Promise<string> {
  const at = (name: string) => join(directory, name);
  await session.run({
    name: 'core',
    text: `set -e
      grub-mkimage -O i386-pc -p '(,msdos1)/boot/grub' -o /tmp/core.img biosdisk part_msdos ext2
      cat /usr/lib/grub/i386-pc/boot.img /tmp/core.img >&4`,
    outbox: { path: at('loader.img'), maximumBytes: MiB },
  });

  const raw = at('mbr.raw');
  await writeFile(raw, '');
  await truncate(raw, MiB + root.sizeBytes);
  const file = { driver: 'qcow2', file: { driver: 'file', filename: path } };
  const source = { driver: 'raw', offset: root.offsetBytes, size: root.sizeBytes, file };
  const target = `driver=raw,offset=${MiB},file.driver=file,file.filename=${raw}`;
  await exec('qemu-img', ['convert', '-n', '--target-image-opts', `json:${JSON.stringify(source)}`, target]);
  await exec('sfdisk', ['--quiet', raw], { input: 'label: dos\nstart=2048, type=83, bootable\n' });

  await using disk = await open(raw, 'r+');
  const loader = await open(at('loader.img')).then(async (handle) => {
    await using opened = handle;
    return await opened.readFile();
  });
  // The table of partitions lies behind the code of the first sector.
  await disk.write(loader, 0, 440, 0);
  await disk.write(loader, 512, loader.length - 512, 512);

  await writeFile(at('fstab'), '/dev/vda1 / ext4 defaults 0 1\n');
  await writeFile(at('dep'), 'MODULES=dep\n');
  const commands = `rm etc/fstab\nwrite ${at('fstab')} etc/fstab\nwrite ${at('dep')} etc/initramfs-tools/conf.d/dep\n`;
  await writeFile(at('commands'), commands);
  await exec('debugfs', ['-w', '-f', at('commands'), `${raw}?offset=${MiB}`]);
  await exec('qemu-img', ['convert', '-O', 'qcow2', raw, at('mbr.qcow2')]);
  return at('mbr.qcow2');
}
