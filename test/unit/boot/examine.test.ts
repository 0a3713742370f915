import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareBoot, examineBoot } from '#lib/boot/examine.ts';
import type { GrubImage } from '#lib/boot/grub-image.ts';
import { type BootMount, parseTree } from '#lib/boot/tree.ts';
import type { BootView } from '#lib/boot/view.ts';
import type { FileSystem, Partition } from '#lib/image/partition.ts';

/** The boot check on images of many shapes, as far as their loaders and menus tell them apart. */

const MiB = 2 ** 20;
function partition(number: number, type: FileSystem['type'], more: Partial<Partition> = {}): Partition {
  const place = { number, offsetBytes: number * MiB, sizeBytes: MiB, name: null };
  const fileSystem = { type, label: `label-${number}`, uuid: `uuid-${number}` };
  return { ...place, type: null, partitionUuid: `partuuid-${number}`, fileSystem, ...more };
}
const root = partition(1, 'ext4');
const esp = partition(15, 'vfat', { type: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b' });
const xbootldr = partition(16, 'ext4');

const grub = (modules: string, prefix: string | null, configuration = ''): GrubImage => ({
  ...{ modules: new Set(modules.split(' ')), prefix, configuration },
});
const all = 'part_gpt part_msdos ext2 fat xfs btrfs normal search_fs_uuid';
const menu = (kernel = '/boot/vmlinuz-6.1', rootSpec = 'UUID=uuid-1', device = 'uuid-1') => `
### BEGIN /etc/grub.d/10_linux ###
menuentry 'x' {
  search --no-floppy --fs-uuid --set=root ${device}
  linux ${kernel} root=${rootSpec} ro
  initrd /boot/initrd.img-6.1
}
`;
const files = ['f /boot/vmlinuz-6.1', 'f /boot/initrd.img-6.1', 'd /boot/grub', 'f /boot/grub/grub.cfg', 'd /boot/efi'];

interface Shape {
  readonly files?: readonly string[];
  readonly mounts?: readonly BootMount[];
  readonly texts?: Readonly<Record<string, string>>;
  readonly bios?: GrubImage | null;
  readonly efi?: Readonly<Record<string, GrubImage | 'shim'>>;
  readonly partitions?: readonly Partition[];
  readonly partitionTable?: BootView['partitionTable'];
  readonly kernels?: readonly string[];
  readonly makesInitrds?: boolean;
}
const atRoot: BootMount = { partition: root, root: '/', target: '/' };
const atEsp: BootMount = { partition: esp, root: '/', target: '/boot/efi' };

function view(shape: Shape = {}): BootView {
  const { mounts = [atRoot], efi = {}, bios = grub(all, '(,gpt1)/boot/grub') } = shape;
  const listed = ['d /', 'd /boot', ...(shape.files ?? files), ...Object.keys(efi).map((path) => `f ${path}`)];
  const listing = listed.map((line) => {
    const [type, path, link = ''] = line.split(' ');
    return `${type}\t${type === 'f' ? 9 : 0}\t${path}\t${link}`;
  });
  const loaders = Object.entries(efi).map(
    ([path, image]) => [path, { grub: image === 'shim' ? null : image, isShim: image === 'shim' }] as const,
  );
  return {
    tree: parseTree(listing.join('\n'), mounts),
    partitions: shape.partitions ?? [root, esp, xbootldr],
    partitionTable: shape.partitionTable ?? 'gpt',
    kernels: shape.kernels ?? ['6.1'],
    packaged: [],
    makesInitrds: shape.makesInitrds ?? true,
    texts: new Map(Object.entries(shape.texts ?? { '/boot/grub/grub.cfg': menu() })),
    efiLoaders: new Map(loaders),
    onDisk: { bios, hasBootCode: bios !== null, hasEfiProgram: false },
    ...{ initrds: new Map(), modules: new Map(), heads: new Map(), left: [] },
  };
}
const messages = (shape: Shape) =>
  examineBoot(view(shape))
    .faults.map(({ message }) => message)
    .join('; ');

test('images that boot have no faults: in one partition, by an MBR, in subvolumes, with /boot apart', () => {
  assert.is(messages({}), '');
  const mbr = partition(1, 'xfs');
  const msdos = grub('part_msdos xfs normal', '(,msdos1)/boot/grub');
  const mbrShape = { partitions: [mbr], mounts: [{ ...atRoot, partition: mbr }], partitionTable: 'mbr' as const };
  assert.is(
    messages({ ...mbrShape, bios: msdos, texts: { '/boot/grub/grub.cfg': menu('/boot/vmlinuz-6.1', '/dev/vda1') } }),
    '',
  );
  const btrfs = partition(1, 'btrfs');
  const inSubvolume = menu('/@/boot/vmlinuz-6.1').replace('initrd /boot', 'initrd /@/boot');
  const mounts = [{ partition: btrfs, root: '/@', target: '/' }];
  const bios = grub('part_gpt btrfs normal', '(,gpt1)/@/boot/grub');
  assert.is(messages({ partitions: [btrfs], mounts, bios, texts: { '/boot/grub/grub.cfg': inSubvolume } }), '');
  const apart = [atRoot, { partition: xbootldr, root: '/', target: '/boot' }];
  const text = menu('/vmlinuz-6.1', 'PARTUUID=partuuid-1', 'uuid-16').replace('initrd /boot', 'initrd ');
  assert.is(messages({ mounts: apart, bios: grub(all, '(,gpt16)/grub'), texts: { '/boot/grub/grub.cfg': text } }), '');
});

test('a loader that lacks a driver for the partition table or for the file system of /boot is found', () => {
  const prefix = '(,gpt1)/boot/grub';
  assert.match(messages({ bios: grub('ext2 normal', prefix) }), /BIOS cannot read the partition table.*part_gpt/);
  assert.match(messages({ bios: grub('part_gpt fat normal', prefix) }), /BIOS cannot read \/boot.*no module ext2/);
  const mbr = { partitionTable: 'mbr' as const, bios: grub('part_gpt ext2 normal', '(,msdos1)/boot/grub') };
  assert.match(messages(mbr), /no module part_msdos/);
});

test('a kernel that lies where the loader does not read is found, though the old one still boots', () => {
  const bios = grub(all, '(,gpt16)/grub');
  assert.match(messages({ bios }), /reads partition 16, but \/boot is on partition 1: it never sees the kernel 6\.1/);
  const texts = { '/boot/grub/grub.cfg': '' };
  const base = view({ bios, kernels: [], files: ['d /boot/grub'], texts });
  assert.is(
    compareBoot(view({ bios }), base).added.some(({ id }) => id === 'elsewhere:6.1'),
    true,
  );
  assert.not.ok(compareBoot(view({ bios }), view({ bios })).added.length, 'the base has it as well');
});

test('a signed GRUB goes on with the grub.cfg beside it, and shim with the GRUB beside it', () => {
  const signed = grub(all, '/EFI/debian');
  const stub = (uuid: string) =>
    `search.fs_uuid ${uuid} root hd0,gpt1\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n`;
  const efi = { '/boot/efi/EFI/debian/shimx64.efi': 'shim', '/boot/efi/EFI/debian/grubx64.efi': signed } as const;
  const path = '/boot/efi/EFI/debian/grub.cfg';
  const folders = ['d /boot/efi/EFI', 'd /boot/efi/EFI/debian'];
  const shape = (text: string | null): Shape => ({
    ...{ mounts: [atRoot, atEsp], efi, files: [...files, ...folders, ...(text === null ? [] : [`f ${path}`])] },
    texts: { '/boot/grub/grub.cfg': menu(), ...(text === null ? {} : { [path]: text }) },
  });
  assert.is(messages(shape(stub('uuid-1'))), '');
  assert.match(
    messages(shape(stub('uuid-9'))),
    /grub\.cfg, with which .* goes on, looks for .* UUID uuid-9, which the image does/,
  );
  assert.match(messages(shape(stub('uuid-16'))), /reads partition 16, but \/boot is on partition 1/);
  assert.match(messages(shape(null)), /looks for \/EFI\/debian\/grub\.cfg on its own partition, which is not there/);
  const alone = { ...shape(stub('uuid-1')), efi: { '/boot/efi/EFI/BOOT/BOOTX64.EFI': 'shim' as const } };
  assert.match(messages(alone), /BOOTX64\.EFI is a shim, but no GRUB lies beside it/);
  assert.match(messages({ mounts: [atRoot, atEsp] }), /no boot loader that is known here is left in \/boot\/efi/);
});

test('an image without a loader, whose base had none either, passes', () => {
  const bare = { bios: null, texts: {}, kernels: [], files: ['d /boot'] };
  assert.ok(examineBoot(view(bare)).isBare);
  const { added } = compareBoot(view({ bios: null, texts: {}, files: ['f /boot/vmlinuz-6.1'] }), view(bare));
  assert.equal(added, [], 'a kernel without an initial ramdisk, which nothing in the image starts');
  assert.match(examineBoot(view(bare)).unchecked.join(), /no boot loader that is known here/);
});

test('what a menu leaves to other files or to the machine makes no verdict', () => {
  const shape = (kernel: string, spec: string): Shape => ({ texts: { '/boot/grub/grub.cfg': menu(kernel, spec) } });
  for (const spec of ['/dev/mapper/vg-root', 'ZFS=rpool', '/dev/sda1', '$root_device', 'live:CDLABEL=x', '/dev/md0']) {
    assert.is(messages(shape('/boot/vmlinuz-6.1', spec)), '', spec);
  }
  assert.is(messages({ texts: { '/boot/grub/grub.cfg': menu().replace('linux /boot', 'linux $somewhere') } }), '');
  assert.is(
    messages({
      texts: { '/boot/grub/grub.cfg': 'blscfg\n', '/boot/loader/entries/x.conf': 'linux /boot/vmlinuz-6.1\n' },
    }),
    '',
  );
});

test('a menu written by hand need not name every kernel: that is a warning', () => {
  const text = menu().replace('### BEGIN', '###');
  const shape = { kernels: ['6.1', '6.2'], files: [...files, 'f /boot/vmlinuz-6.2', 'f /boot/initrd.img-6.2'] };
  const [fault] = examineBoot(view({ ...shape, texts: { '/boot/grub/grub.cfg': text } })).faults;
  assert.equal([fault?.id, fault?.isMinor], ['menu-without:6.2', true]);
  const [generated] = examineBoot(view(shape)).faults;
  assert.equal([generated?.id, generated?.isMinor], ['menu-without:6.2', undefined]);
});

test.run();
