import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { IsoEntry } from '#lib/iso9660/tree.ts';
import { type MenuKernel, readMenuKernels } from '#lib/kinds/cd/boot-menus.ts';
import { temporaryFolder } from '../../image/temporary.ts';

/** Reads the menus of a medium with these files; `-> target` is a symbolic link. */
async function read(contents: Readonly<Record<string, string>>): Promise<MenuKernel[]> {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'medium');
  const files = new Map<string, IsoEntry>();
  let bytes = Buffer.alloc(0);
  for (const [name, text] of Object.entries(contents)) {
    const target = text.startsWith('-> ') ? text.slice(3) : null;
    const extent = { offsetBytes: bytes.length, sizeBytes: Buffer.byteLength(text) };
    const common = { sizeBytes: extent.sizeBytes, extents: [extent], encoding: null, owner: null };
    files.set(name, { ...common, type: target === null ? 'file' : 'link', target });
    bytes = Buffer.concat([bytes, Buffer.from(text)]);
  }
  await writeFile(path, bytes);
  await using handle = await open(path, 'r');
  return await readMenuKernels(handle, files);
}

test("the menus of Ubuntu's media name a kernel for each series, wherever they look for the medium", async () => {
  const found = await read({
    'casper/vmlinuz': 'k',
    'casper/initrd': 'i',
    'casper/hwe-vmlinuz': 'k',
    'casper/hwe-initrd': 'i',
    'boot/grub/grub.cfg': `
menuentry "Try or Install Ubuntu Server" {
	set gfxpayload=keep
	linux	/casper/vmlinuz  ---
	initrd	/casper/initrd
}
grub_platform
if [ "$grub_platform" = "efi" ]; then
menuentry 'Ubuntu Server with the HWE kernel' {
	linux	($root)/casper/hwe-vmlinuz quiet
	initrd	($root)/casper/hwe-initrd
}
menuentry 'UEFI Firmware Settings' {
	fwsetup
}
fi
`,
    'boot/grub/loopback.cfg':
      'menuentry x {\n linux (loop)/casper/vmlinuz iso-scan/filename=$iso_path\n initrd (loop)/casper/initrd\n}',
  });
  assert.equal(found, [
    { kernel: 'casper/vmlinuz', initrds: ['casper/initrd'], saysSystem: false, topLayers: [null] },
    { kernel: 'casper/hwe-vmlinuz', initrds: ['casper/hwe-initrd'], saysSystem: false, topLayers: [null] },
  ]);
});

test("the menus of Debian's live media for GRUB and isolinux are read, with those of the installer", async () => {
  const found = await read({
    'live/vmlinuz-6.1.0-18-amd64': 'k',
    'live/initrd.img-6.1.0-18-amd64': 'i',
    'live/vmlinuz': '-> vmlinuz-6.1.0-18-amd64',
    'd-i/vmlinuz': 'k',
    'd-i/initrd.gz': 'i',
    'boot/grub/grub.cfg': `source /boot/grub/config.cfg
menuentry "Live system (amd64)" --hotkey=l {
	linux	/live/vmlinuz-6.1.0-18-amd64 boot=live components quiet splash findiso=$\{iso_path}
	initrd	/live/initrd.img-6.1.0-18-amd64
}`,
    'boot/grub/install_start.cfg':
      'menuentry "Start installer" {\nlinux /d-i/vmlinuz vga=788\ninitrd /d-i/initrd.gz\n}',
    'isolinux/isolinux.cfg': 'include menu.cfg\ndefault vesamenu.c32',
    'isolinux/live.cfg': `label live-amd64
	menu label ^Live system (amd64)
	linux /live/vmlinuz
	initrd ../live/./initrd.img-6.1.0-18-amd64
	append boot=live components
label memtest
	linux memtest.bin
label old
	kernel /live/vmlinuz-6.1.0-18-amd64
	append initrd=/live/initrd.img-6.1.0-18-amd64,/live/more.img boot=live
`,
    'live/more.img': 'i',
    'isolinux/memtest.bin': 'm',
  });
  const live = ['live/initrd.img-6.1.0-18-amd64', 'live/more.img'];
  assert.equal(found, [
    { kernel: 'live/vmlinuz-6.1.0-18-amd64', initrds: live, saysSystem: true, topLayers: [null] },
    { kernel: 'd-i/vmlinuz', initrds: ['d-i/initrd.gz'], saysSystem: false, topLayers: [null] },
    { kernel: 'isolinux/memtest.bin', initrds: [], saysSystem: false, topLayers: [null] },
  ]);
});

test('each entry of systemd-boot is a file', async () => {
  const found = await read({
    'casper_pop/vmlinuz': 'k',
    'casper_pop/initrd': 'i',
    'loader/entries/pop.conf':
      'title Pop\nlinux /casper_pop/vmlinuz\ninitrd /casper_pop/initrd\noptions boot=casper live-media-path=/casper_pop\n',
    'loader/entries/shell.conf': 'title Shell\nefi /shell.efi\n',
  });
  const [initrds, topLayers] = [['casper_pop/initrd'], [null]];
  assert.equal(found, [{ kernel: 'casper_pop/vmlinuz', initrds, saysSystem: true, topLayers }]);
});

test('kernels that are not there, links that lead in a circle, and files that are no menus, name nothing', async () => {
  const found = await read({
    'a/one': '-> two',
    'a/two': '-> one',
    'boot/grub/grub.cfg': `menuentry x {\nlinux /a/one\n}\nmenuentry x {\nlinux /casper/$kernel\n}\nmenuentry y {\nlinux /gone\n}`,
    'pool/main/x.cfg': 'menuentry x {\nlinux /pool/main/x.cfg\n}',
    'casper/vmlinuz': 'k',
    'README.txt': 'menuentry x {\nlinux /casper/vmlinuz\n}',
  });
  assert.equal(found, []);
});

test('menus say the uppermost layer of casper, some entries of a kernel another than others', async () => {
  const files = { 'casper/vmlinuz': 'k', 'casper/initrd': 'i', 'casper/hwe-vmlinuz': 'k' };
  const entry = (words: string) => `menuentry x {\n linux /casper/vmlinuz ${words}\n initrd /casper/initrd\n}\n`;
  const found = await read({
    ...files,
    'boot/grub/grub.cfg': `${entry('layerfs-path=a.squashfs layerfs-path=minimal.live.custom.squashfs ---')}${entry('quiet')}`,
    'boot/grub/loopback.cfg': entry('layerfs-path=/casper/minimal.live.squashfs iso-scan/filename=$iso_path'),
    'isolinux/txt.cfg':
      'label live\n kernel /casper/hwe-vmlinuz\n append layerfs-path=minimal.live.squashfs initrd=/casper/initrd',
    'isolinux/grub.cfg': 'menuentry y {\nlinux /casper/hwe-vmlinuz layerfs-path=$layer\n}',
  });
  assert.equal(
    found.map(({ kernel, topLayers }) => [kernel, topLayers]),
    [
      ['casper/vmlinuz', ['minimal.live.custom.squashfs', null, 'minimal.live.squashfs']],
      ['casper/hwe-vmlinuz', ['minimal.live.squashfs', null]],
    ],
  );
});

test.run();
