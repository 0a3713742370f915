import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { defaultEntry, parseGrubConfig, parsePrefix } from '#lib/boot/grub-config.ts';

/** As update-grub writes it on Debian, shortened. */
const generated = (chosen: string) => `
if [ "\${next_entry}" ] ; then
   set default="\${next_entry}"
else
   set default="${chosen}"
fi
function savedefault {
  if [ -z "\${boot_once}" ]; then
    saved_entry="\${chosen}"
  fi
}
insmod part_gpt
search --no-floppy --fs-uuid --set=root 0000-font
### BEGIN /etc/grub.d/10_linux ###
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {
	load_video
	insmod ext2
	set root='hd0,gpt1'
	if [ x$feature_platform_search_hint = xy ]; then
	  search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt1 --hint='hd0,gpt1'  aaaa-1
	else
	  search --no-floppy --fs-uuid --set=root aaaa-1
	fi
	echo	'Loading Linux 6.1.0-28 ...'
	linux	/boot/vmlinuz-6.1.0-28 root=UUID=aaaa-1 ro  quiet
	initrd	/boot/intel-ucode.img /boot/initrd.img-6.1.0-28
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1' {
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-28' --class debian $menuentry_id_option 'gnulinux-28' {
		search --no-floppy --fs-uuid --set=root aaaa-1
		linux	/boot/vmlinuz-6.1.0-28 root=UUID=aaaa-1 ro
	}
	menuentry 'Debian GNU/Linux, with Linux 6.1.0-9' --class debian $menuentry_id_option 'gnulinux-9' {
		search --no-floppy --label --set=root cloudimg-rootfs
		linux	/boot/vmlinuz-6.1.0-9 root=UUID=aaaa-1 ro
	}
}
### END /etc/grub.d/10_linux ###
`;

test('the entries of a generated menu have their files, on the partition that the entry looks for', () => {
  const config = parseGrubConfig(generated('0'));
  assert.ok(config.generated);
  assert.equal(
    config.entries.map(({ index, id, kernel }) => [index, id, kernel.path]),
    [
      ['0', 'gnulinux-simple-1', '/boot/vmlinuz-6.1.0-28'],
      ['1>0', 'gnulinux-28', '/boot/vmlinuz-6.1.0-28'],
      ['1>1', 'gnulinux-9', '/boot/vmlinuz-6.1.0-9'],
    ],
  );
  const [first, , last] = config.entries;
  assert.equal(first?.kernel.device, { kind: 'uuid', value: 'aaaa-1' });
  assert.equal(
    first?.initrds.map(({ path }) => path),
    ['/boot/intel-ucode.img', '/boot/initrd.img-6.1.0-28'],
  );
  assert.equal(first?.arguments, ['root=UUID=aaaa-1', 'ro', 'quiet']);
  assert.equal(last?.kernel.device, { kind: 'label', value: 'cloudimg-rootfs' });
});

test('the entry that starts by itself is found by number, id and title', () => {
  const chosen = (value: string) => defaultEntry(parseGrubConfig(generated(value)))?.id;
  assert.is(chosen('0'), 'gnulinux-simple-1');
  assert.is(chosen('1'), 'gnulinux-28', 'a submenu starts its first entry');
  assert.is(chosen('1>1'), 'gnulinux-9');
  assert.is(chosen('gnulinux-advanced-1>gnulinux-9'), 'gnulinux-9');
  assert.is(chosen('Debian GNU/Linux, with Linux 6.1.0-9'), 'gnulinux-9');
  assert.is(chosen('no such entry'), 'gnulinux-simple-1', 'GRUB takes the first one');
  assert.is(chosen('$saved_entry'), 'gnulinux-simple-1');
});

test('paths may name their partition, by a variable or in full', () => {
  const { entries, continues } = parseGrubConfig(`
search.fs_uuid bbbb-2 root hd0,gpt16
set prefix=($root)'/grub'
menuentry x { linux (hd0,gpt3)/a; initrd $prefix/c \${unknown}/d # more
 }
configfile $prefix/grub.cfg
`);
  assert.equal(continues, { device: { kind: 'uuid', value: 'bbbb-2' }, path: '/grub/grub.cfg' });
  const initrds = [{ device: { kind: 'uuid', value: 'bbbb-2' }, path: '/grub/c' }];
  assert.equal(entries[0]?.initrds.slice(0, 1), initrds);
  const multiline = parseGrubConfig('menuentry x {\nset root=hd0,msdos2\nlinux (hd0,gpt3)/a\ninitrd ($root)/b /c\n}\n');
  assert.equal(
    multiline.entries.map(({ kernel, initrds }) => [kernel, ...initrds]),
    [
      [
        { device: { kind: 'partition', number: 3 }, path: '/a' },
        { device: { kind: 'partition', number: 2 }, path: '/b' },
        { device: { kind: 'partition', number: 2 }, path: '/c' },
      ],
    ],
  );
  assert.equal(parsePrefix('(,gpt16)/grub'), { device: { kind: 'partition', number: 16 }, path: '/grub' });
  assert.equal(parsePrefix('/EFI/debian'), { device: null, path: '/EFI/debian' });
  assert.is(parsePrefix('(hostdisk//dev/image1)/boot/grub').device, null);
});

test('a menu without an end, and one without a menu, are read as far as they go', () => {
  assert.is(parseGrubConfig('menuentry x {\n linux /a root=/dev/vda1').entries[0]?.kernel.path, '/a');
  assert.equal(parseGrubConfig('}\n}\n{\n').entries, []);
  assert.ok(parseGrubConfig('insmod blscfg\nblscfg\n').usesLoaderEntries);
});

test.run();
