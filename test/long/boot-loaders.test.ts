import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { bootImage } from '../../lab/images/boot.ts';
import { newerPackages } from '../../lab/images/newer-packages.ts';
import type { PackageRecipe } from '../../lab/servers/launchpad.ts';
import { changeImage, runInImage } from '../system/base-session.ts';
import { openGuestBuilds } from '../system/guest-builds.ts';

/** Packages of boot loaders and kernels leave an image that boots, whatever machine the guest shows them. */

const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-loaders-'));
const grub = ['grub-pc', 'grub-pc-bin', 'grub2-common', 'grub-common', 'grub-efi-amd64', 'grub-efi-amd64-bin'];
let newer: readonly PackageRecipe[];

test.before(async () => {
  newer = await newerPackages(grub, join(directory, 'packages'));
});

test.after(async () => {
  await rm(directory, { recursive: true });
});

/** Settings of an image's owner, and of Debian's installer, any of which decides what a machine's own upgrade does. */
const owner = `set -e
echo MODULES=dep >/etc/initramfs-tools/conf.d/driver-policy
mkdir -p /etc/grub.d
: >/etc/grub.d/enable_cloud
debconf-set-selections <<END
grub-pc grub-pc/install_devices multiselect /dev/disk/by-id/ata-GONE
grub-pc grub-pc/install_devices_empty boolean false
END
dpkg-divert --quiet --local --rename --divert /usr/sbin/grub-install.owner --add /usr/sbin/grub-install
printf '#!/bin/sh\\nexec /usr/sbin/grub-install.owner "$@"\\n' >/usr/sbin/grub-install
chmod 755 /usr/sbin/grub-install
`;

/** Nothing lent is left but for the two programs of this look, and dpkg finds its files as the packages have them. */
const looks = {
  diversions: 'dpkg-divert --list | grep -e grub -e prober',
  lent: 'ls -d /usr/sbin/grub-install*; find /etc /usr -name "*imagebuilder*" ! -name "systemd-detect-virt.*" ! -name "start-stop-daemon.*"; ls /etc/dracut.conf.d 2>&1 || :',
  dpkg: 'dpkg --verify grub2-common grub-common initramfs-tools-core systemd',
};

test('host guest: kernel, GRUB for the BIOS and for clouds are upgraded; the BIOS boots the new kernel by the old GRUB', async () => {
  const first = {
    name: 'boots-new-kernel',
    files: { '/etc/default/grub.d/99-new-kernel.cfg': 'GRUB_DEFAULT="1>2"\n' },
  };
  const change = (path: string) => changeImage(path, directory, owner);
  await using builds = await openGuestBuilds('plain', [first, ...newer], change);
  const wanted = ['grub-pc', 'grub-cloud-amd64', 'linux-image-amd64', 'boots-new-kernel'];
  const { path, image } = await builds.build('host', wanted);
  const upgraded = image.packages?.filter(({ version }) => version.endsWith('+newer1')).map(({ name }) => name);
  assert.equal(upgraded, ['grub-common', 'grub-efi-amd64-bin', 'grub-pc', 'grub-pc-bin', 'grub2-common']);
  assert.match(image.warnings?.join('\n') ?? '', /the boot loader in \/boot\/grub\/i386-pc is that of the base image/);

  const text = Object.entries(looks).map(([name, command]) => `echo "== ${name}"; ${command}`);
  const debconf = 'echo "== debconf"; debconf-show grub-pc | grep "install_devices\\(_empty\\)\\?:" | LC_ALL=C sort';
  const found = await runInImage(path, directory, [...text, debconf, 'cat /usr/sbin/grub-install'].join('\n'));
  assert.equal(found.trimEnd().split('\n'), [
    '== diversions',
    'local diversion of /usr/sbin/grub-install to /usr/sbin/grub-install.owner',
    '== lent',
    '/usr/sbin/grub-install',
    '/usr/sbin/grub-install.owner',
    "ls: cannot access '/etc/dracut.conf.d': No such file or directory",
    '== dpkg',
    '== debconf',
    '* grub-pc/install_devices: /dev/disk/by-id/ata-GONE',
    '* grub-pc/install_devices_empty: false',
    '#!/bin/sh',
    'exec /usr/sbin/grub-install.owner "$@"',
  ]);

  const console = await bootImage({ path, until: /Welcome to / });
  assert.match(console, /Linux version [0-9.]+-[0-9]+-amd64 /);
});

test('vm guest: GRUB for UEFI, its signed form and shim are installed and upgraded, and boot with Secure Boot', async () => {
  const enable = { name: 'enable-cloud', files: { '/etc/grub.d/enable_cloud': '' } };
  await using builds = await openGuestBuilds('separate-boot', [enable, ...newer], async (path) => {
    // Its own loader is not signed: the firmware refuses it.
    await bootImage({ path, firmware: 'secure-boot', until: /failed to load .*: Access Denied/ });
    return path;
  });
  const { path, image } = await builds.build('vm', ['enable-cloud', 'grub-efi-amd64', 'grub-cloud-amd64']);
  const names = image.packages?.map(({ name }) => name) ?? [];
  assert.ok(['grub-efi-amd64', 'grub-efi-amd64-signed', 'shim-signed'].every((name) => names.includes(name)));
  // Only the BIOS starts the older one.
  assert.equal(image.warnings?.filter((warning) => !warning.includes('i386-pc')) ?? [], []);
  await bootImage({ path, firmware: 'secure-boot', until: /Welcome to / });
});

test.run();
