import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readDiskLoaders } from '#lib/boot/disk-loaders.ts';
import { compareBoot, examineBoot } from '#lib/boot/examine.ts';
import { bootState, collectBootFiles, hasBootChanged } from '#lib/boot/probe.ts';
import { type BootView, readBootView } from '#lib/boot/view.ts';
import { loadConfig } from '#lib/config/load.ts';
import { type ExecError, exec } from '#lib/exec.ts';
import type { GuestSession } from '#lib/guest/guest.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { beforeChange, type Pristine, sealImage } from '#lib/guest/seal.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { openDisk } from '#lib/image/open-disk.ts';
import { createLog } from '#lib/log.ts';
import { type BaseImageVariant, makeBaseImage } from '../../lab/images/base-image.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { startImageServer } from '../../lab/servers/image-server.ts';
import { startLaunchpad } from '../../lab/servers/launchpad.ts';
import { variants } from '../runner/long.ts';
import { failure, openGuestTests, output } from './guest-disk.ts';
import { unprivilegedIds } from './unprivileged.ts';

/** The boot check on real images that boot, each opened once and broken in many ways, one after the other. */

const signal = new AbortController().signal;
const log = createLog({ level: 'error' });
const tests = await openGuestTests('boot-check', () =>
  createHostGuest({ limits: loadConfig({}).guest, ids: unprivilegedIds, log }),
);

interface Opened {
  readonly session: GuestSession;
  readonly pristine: Pristine;
  /** The image as it was opened. */
  readonly base: BootView;
  look(all: boolean): Promise<BootView>;
}

async function withImage(variant: BaseImageVariant, body: (opened: Opened) => Promise<void>): Promise<void> {
  const { path } = await makeBaseImage({ cacheDirectory: baseImageCache, variant });
  const { partitions, partitionTable } = await inspectImage(path, { maximumVirtualBytes: 2 ** 40 });
  const boot = {
    ...{ partitions, partitionTable },
    async readLoaders() {
      await using disk = await openDisk(path, { format: 'qcow2', virtualSizeBytes: 2 ** 40 });
      return await readDiskLoaders(disk, partitions);
    },
  };
  await tests.withDisk({ path, partitions }, async (disk) => {
    await using session = await disk.open();
    await output(session, keep);
    const pristine = await beforeChange(session, [bootState]);
    const bundle = join(tests.directory, 'boot-files');
    const look = async (all: boolean) => {
      await collectBootFiles(session, bundle, all ? null : pristine.lines);
      const view = await readBootView(bundle, {
        ...{ disk: boot, workDirectory: tests.directory, unprivilegedIds, signal },
      });
      await rm(bundle);
      return view;
    };
    await body({ session, pristine, base: await look(true), look });
  });
}

/** Keeps the files of /boot by links: they stay as they are unless a script changes one in place. */
const keep = 'mkdir /boot/.kept; cp -al $(ls -d /boot/* | grep -v efi$) /boot/.kept';
/** For a script that does. */
const own = 'own() { cp -p "$1" "$1.own"; mv "$1.own" "$1"; }';
const undo = `cd /boot
  find . -path ./.kept -prune -o ! -type d -links 1 -exec rm {} +
  find .kept -type f | while read -r path; do
    [ "$path" -ef "\${path#.kept/}" ] || ln -f "$path" "\${path#.kept/}"
  done`;

interface Break {
  readonly name: string;
  /** Shell text, in which $V is the version of the image's kernel. */
  readonly text: string;
  readonly expected: RegExp;
  /** True where the partition of /boot matters. */
  readonly everywhere?: boolean;
}

/** Each is undone before the next one. */
const breaks: readonly Break[] = [
  {
    name: 'the only kernel is gone',
    everywhere: true,
    text: 'rm /boot/vmlinuz-$V',
    expected: /vmlinuz-\S+, the kernel of an installed package, is not there/,
  },
  {
    name: 'the kernel is cut',
    text: 'own /boot/vmlinuz-$V; truncate -s 3M /boot/vmlinuz-$V',
    expected: /the kernel \S+ is shorter than it says/,
  },
  { name: 'the initial ramdisk is gone', text: 'rm /boot/initrd.img-$V', expected: /has no initial ramdisk in \/boot/ },
  {
    name: 'the initial ramdisk is cut, as on a full /boot',
    text: 'own /boot/initrd.img-$V; truncate -s 6M /boot/initrd.img-$V',
    expected: /initrd\.img-\S+ is not whole: it ends in the middle/,
  },
  {
    name: 'the initial ramdisk is made for the machine that it is made on',
    text: `echo MODULES=dep >/etc/initramfs-tools/conf.d/zz-test
      update-initramfs -u 2>/dev/null; rm /etc/initramfs-tools/conf.d/zz-test`,
    expected: /virtio_blk|any driver for disks/,
  },
  {
    name: 'a second kernel has no entry in a generated menu',
    text: `ln /boot/vmlinuz-$V /boot/vmlinuz-9.9; ln /boot/initrd.img-$V /boot/initrd.img-9.9; own /boot/grub/grub.cfg
      echo '### BEGIN /etc/grub.d/10_linux ###' >>/boot/grub/grub.cfg`,
    expected: /grub\.cfg has no entry for the kernel 9\.9/,
  },
  {
    name: 'the menu is empty',
    text: 'own /boot/grub/grub.cfg; : >/boot/grub/grub.cfg',
    expected: /grub\.cfg has no entry for a kernel/,
  },
  {
    name: 'the menu is gone',
    everywhere: true,
    text: 'rm /boot/grub/grub.cfg',
    expected: /looks for \S*\/grub\.cfg on partition \d+, which is not there/,
  },
  {
    name: 'the menu names a file that is a dangling link',
    everywhere: true,
    text: 'ln -s boot/nothing /boot/kernel-link; sed -i s,/vmlinuz-$V,/kernel-link, /boot/grub/grub.cfg',
    expected: /no entry whose kernel exists \(\S*\/kernel-link\)/,
  },
  {
    name: 'the menu looks for a file system that is not there',
    text: 'sed -i "s/--set=root .*/--set=root 11111111-2222-3333-4444-555555555555/" /boot/grub/grub.cfg',
    expected: /no entry whose kernel exists|which the image does not have/,
  },
  {
    name: 'the menu names a root that is not there',
    text: 'sed -i "s/root=LABEL=[^ ]*/root=UUID=11111111-2222-3333-4444-555555555555/" /boot/grub/grub.cfg',
    expected: /names the root file system by root=UUID=11111111-\S+, which the image does not have/,
  },
  {
    name: 'the menu names another partition as the root',
    text: 'sed -i "s/root=LABEL=[^ ]*/root=LABEL=UEFI/" /boot/grub/grub.cfg',
    expected: /which is partition 15 and not the root/,
  },
  {
    name: 'the kernel starts without its initial ramdisk',
    text: 'sed -i /initrd/d /boot/grub/grub.cfg',
    expected: /starts the kernel \S+ without an initial ramdisk/,
  },
  {
    name: 'an entry of the Boot Loader Specification names no file',
    text: `mkdir -p /boot/loader/entries
      printf 'title x\\nlinux /nothing\\noptions root=LABEL=cloudimg-rootfs\\n' >/boot/loader/entries/x.conf`,
    expected: /loader\/entries has no entry whose kernel exists/,
  },
  {
    name: 'extlinux.conf names no file',
    text: `mkdir -p /boot/extlinux
      printf 'default x\\nlabel x\\n kernel ../nothing\\n append root=LABEL=cloudimg-rootfs\\n' >/boot/extlinux/extlinux.conf`,
    expected: /extlinux\.conf has no entry whose kernel exists/,
  },
  {
    name: 'GRUB for EFI is made without the module of the partition table',
    text: `mkdir -p /boot/efi/EFI/BOOT; echo "search.fs_uuid $U root" >/tmp/early
      echo 'set prefix=($root)'"'$P'" >>/tmp/early
      grub-mkimage -O x86_64-efi -c /tmp/early -p $P -o /boot/efi/EFI/BOOT/BOOTX64.EFI ext2 fat normal search_fs_uuid`,
    expected: /BOOTX64\.EFI cannot read the partition table: its GRUB has no module part_gpt/,
  },
  {
    name: 'GRUB for EFI looks for another file system',
    everywhere: true,
    text: `mkdir -p /boot/efi/EFI/BOOT; echo "search.fs_uuid 11111111-2222-3333-4444-555555555555 root" >/tmp/early
      echo 'set prefix=($root)'"'$P'" >>/tmp/early
      grub-mkimage -O x86_64-efi -c /tmp/early -p $P -o /boot/efi/EFI/BOOT/BOOTX64.EFI ext2 fat part_gpt normal`,
    expected: /BOOTX64\.EFI looks for the file system with UUID 1+-\S+, which the image does not have/,
  },
  {
    name: 'a shim lies alone',
    text: 'mkdir -p /boot/efi/EFI/BOOT; echo "sbat SBAT shim,1" >/boot/efi/EFI/BOOT/BOOTX64.EFI',
    expected: /is a shim, but no GRUB lies beside it/,
  },
];

/** Changes after which an image boots as before. */
const harmless: readonly Omit<Break, 'expected'>[] = [
  { name: 'update-grub', everywhere: true, text: 'update-grub 2>/dev/null' },
  {
    name: 'the same by links',
    text: `ln -s vmlinuz-$V /boot/vmlinuz; ln -s initrd.img-$V /boot/initrd.img
      sed -i "s,/vmlinuz-$V,/vmlinuz,; s,/initrd.img-$V,/initrd.img," /boot/grub/grub.cfg`,
  },
];

for (const variant of variants('plain', 'separate-boot')) {
  test(`the boot check finds what breaks an image, and nothing else (${variant})`, async () => {
    await withImage(variant, async ({ base, pristine, session, look }) => {
      assert.equal(examineBoot(base).faults, []);
      assert.is(examineBoot(base).kernel, base.kernels[0]);
      assert.equal(examineBoot(base).firmwares, ['bios', 'uefi']);
      assert.ok(base.onDisk.bios?.modules.has('part_gpt'));
      assert.not.ok(hasBootChanged(await sealImage(session, pristine)), 'nothing was changed');
      const [version = ''] = base.kernels;
      const boot = base.tree.mounts.find(({ target }) => target === '/boot') ?? base.tree.mounts[0];
      const about = `V=${version} U=${boot?.partition.fileSystem?.uuid} P=${variant === 'plain' ? '/boot/grub' : '/grub'}`;
      const cases = [...breaks, ...harmless].filter(({ everywhere }) => variant === 'plain' || everywhere === true);
      for (const { name, text, ...rest } of cases) {
        await output(session, `${about}\n${own}\n${text}`);
        assert.ok(hasBootChanged(await sealImage(session, pristine)), name);
        const view = await look(false);
        const { added } = compareBoot(view, base);
        const messages = added.map(({ message }) => message).join('; ');
        if ('expected' in rest) {
          assert.match(messages, rest.expected as RegExp, `${name}: ${messages}`);
          assert.equal(compareBoot(view, await look(true)).added, [], `${name}, in a base that has it as well`);
        } else {
          assert.is(messages, '', `${name}: ${messages}`);
          assert.not.ok(examineBoot(view).isDoubtful, name);
        }
        await output(session, undo);
      }
      const later = await beforeChange(session, [bootState]);
      await output(session, `rm /lib/modules/${version}/modules.dep`);
      assert.ok(hasBootChanged(await sealImage(session, later)), 'a file outside of /boot is gone');
    });
  });
}

test('a build whose packages break the image fails with the reason, and stores nothing', async () => {
  const base = await makeBaseImage({ cacheDirectory: baseImageCache });
  await using images = await startImageServer(base.path);
  const scripts = { postinst: 'sed -i s/LABEL=cloudimg-rootfs/LABEL=elsewhere/ /boot/grub/grub.cfg' };
  const packages = [{ name: 'breaks-menu', scripts }];
  await using launchpad = await startLaunchpad({
    ppas: [{ owner: 'project', name: 'ppaname', series: [base.codename], packages }],
  });
  const at = (name: string) => join(tests.directory, 'here', name);
  const program = join(import.meta.dirname, '../../bin/imagebuilder.ts');
  const about = ['--image-url', images.url, '--series', base.codename, '--ppa', 'ppa:project/ppaname'];
  const failed = (await failure(
    exec(process.execPath, [program, 'build', '--here', ...about, '--json', 'breaks-menu'], {
      env: {
        IMAGEBUILDER_GUEST: 'host',
        IMAGEBUILDER_WORK_DIRECTORY: at('work'),
        IMAGEBUILDER_CACHE_DIRECTORY: at('cache'),
        IMAGEBUILDER_STORE_DIRECTORY: at('store'),
        IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'true',
        IMAGEBUILDER_LAUNCHPAD_API_URL: launchpad.apiUrl,
        IMAGEBUILDER_PPA_URL: launchpad.ppaUrl,
      },
    }),
  )) as ExecError;
  assert.match(failed.stderr, /would not boot: \S+grub\.cfg names the root file system by root=LABEL=elsewhere/);
  assert.match(failed.stderr, 'image.unbootable');
  assert.equal(await readdir(at('store')).catch(() => []), []);
  assert.equal(await readdir(at('work')), []);
});

test.after(() => tests.remove());
test.run();
