import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { guessRoot, matchFstabSpec, noRoot } from '#lib/image/layout.ts';
import type { FileSystem, Partition } from '#lib/image/partition.ts';
import { linuxData } from './craft-table.ts';

const x86Root = '4f68bce3-e8cd-4db1-96e7-fbcaf984b709';

function partition(
  number: number,
  over: Partial<Omit<Partition, 'fileSystem'>> & { fileSystem?: Partial<FileSystem> | null } = {},
): Partition {
  const fileSystem =
    over.fileSystem === null ? null : { type: 'ext4' as const, label: null, uuid: null, ...over.fileSystem };
  const place = { offsetBytes: number * 2 ** 20, sizeBytes: 2 ** 20 };
  return { number, ...place, type: linuxData, name: null, partitionUuid: null, ...over, fileSystem };
}

const efi = partition(15, {
  type: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b',
  fileSystem: { type: 'vfat', label: 'UEFI', uuid: '71E6-F48F' },
});
const boot = partition(16, {
  type: 'bc13c2ff-59e6-4262-a352-b275fd6f7172',
  fileSystem: { label: 'BOOT', uuid: 'aaaa-1' },
});
const bios = partition(14, { type: '21686148-6449-6e6f-744e-656564454649', fileSystem: null });
const root = partition(1, {
  partitionUuid: 'df13c79d-7ec6-a141-8c3c-9f1e0ecc0fca',
  fileSystem: { label: 'cloudimg-rootfs', uuid: '5a1b2c3d-0001-4000-8000-00000000c10d' },
});

test('the root is found by the label of Ubuntu cloud images, wherever it stands', () => {
  assert.is(guessRoot([bios, efi, boot, { ...root, number: 7 }])?.number, 7);
  assert.is(guessRoot([partition(1, { type: x86Root }), { ...root, number: 2 }])?.number, 2);
});

test('the root is found by its type, its name, or as the only Linux file system', () => {
  assert.is(guessRoot([bios, efi, partition(3, { type: x86Root }), partition(4)])?.number, 3);
  assert.is(guessRoot([boot, partition(4), partition(5, { name: 'my-root', fileSystem: { type: 'xfs' } })])?.number, 5);
  assert.is(guessRoot([efi, boot, partition(2)])?.number, 2);
  assert.is(guessRoot([partition(1, { fileSystem: { label: 'boot' } }), partition(2, { type: 'mbr:83' })])?.number, 2);
  assert.is(guessRoot([partition(0, { type: null })])?.number, 0);
});

test('where none or several partitions are likely the root, there is no guess', () => {
  for (const partitions of [[], [bios, efi], [partition(1), partition(2)]]) assert.is(guessRoot(partitions), null);
});

test('an image without a root that can be opened is refused with a list of its partitions, and a root that cannot is named', () => {
  assert.match(noRoot([]).message, /no partitions/);
  assert.match(
    noRoot([bios, efi]).message,
    /no root.*partition 14: no known file system of type 21686148.*partition 15: vfat "UEFI"/,
  );
  for (const [type, name] of [
    ['lvm', 'an LVM physical volume'],
    ['luks', 'an encrypted volume (LUKS)'],
    ['f2fs', 'F2FS'],
    ['zfs', 'a member of a ZFS pool'],
    ['mdraid', 'a member of a RAID'],
  ] as const) {
    const { message, code } = noRoot([boot, partition(2, { fileSystem: { type } })]);
    assert.is(code, 'image.unsupported');
    assert.match(message, `partition 2 holds ${name}`);
    assert.match(message, 'give an image whose root is such a file system, on a plain partition');
  }
  const large = partition(1, { fileSystem: { fault: 'it has 2 bytes, and its partition only 1' } });
  assert.match(noRoot([large]).message, /ext4 of partition 1: it has 2 bytes, and its partition only 1/);
});

test('fields of an fstab name partitions by label, UUID, PARTUUID and PARTLABEL', () => {
  const named = partition(5, { name: 'my data', fileSystem: { type: 'vfat', label: 'MY DISK', uuid: 'ABCD-1234' } });
  const all = [root, bios, efi, boot, named];
  const number = (spec: string) => matchFstabSpec(spec, all)?.number;
  assert.is(number('LABEL=cloudimg-rootfs'), 1);
  assert.is(number('UUID=5A1B2C3D-0001-4000-8000-00000000C10D'), 1);
  assert.is(number('PARTUUID=df13c79d-7ec6-a141-8c3c-9f1e0ecc0fca'), 1);
  assert.is(number('UUID=abcd-1234'), 5);
  assert.is(number('LABEL="MY\\040DISK"'), 5);
  assert.is(number("LABEL='MY\\040DISK'"), 5);
  assert.is(number('PARTLABEL=my\\040data'), 5);
  assert.is(number('/dev/disk/by-label/MY\\x20DISK'), 5);
  assert.is(number('/dev/disk/by-label/MY\\134x20DISK'), 5);
  assert.is(number('/dev/disk/by-uuid/ABCD-1234'), 5);
  assert.is(number('/dev/disk/by-partuuid/df13c79d-7ec6-a141-8c3c-9f1e0ecc0fca'), 1);
});

test('fields that name a device mean the partition of that number on the image’s own disk', () => {
  const all = [root, bios, efi, boot];
  const number = (spec: string) => matchFstabSpec(spec, all)?.number;
  for (const device of ['sda', 'hda', 'vda', 'xvda', 'nvme0n1p', 'mmcblk0p']) {
    assert.is(number(`/dev/${device}1`), 1, device);
    assert.is(number(`/dev/${device}15`), 15, device);
    assert.is(number(`/dev/${device}2`), undefined, device);
  }
  assert.is(number('/dev/disk/by-path/virtio-pci-0000:00:04.0-part16'), 16);
  assert.is(number('/dev/disk/by-id/google-disk-0-part1'), 1);
  assert.is(matchFstabSpec('/dev/vda', [partition(0, { type: null })])?.number, 0);
  for (const spec of [
    '/dev/vdb1',
    '/dev/sdb',
    '/dev/nvme1n1p1',
    '/dev/mapper/vg-root',
    '/dev/vda',
    '/dev/vda1x',
    '/dev/nvme0n11',
  ]) {
    assert.is(number(spec), undefined, spec);
  }
});

test('fields that name nothing or two partitions match none', () => {
  const all = [root, efi, { ...efi, number: 2 }];
  for (const spec of ['/dev/sda3', '/dev/vda', 'tmpfs', 'LABEL=', 'LABEL=nothing', 'LABEL=UEFI', 'label=UEFI', '']) {
    assert.is(matchFstabSpec(spec, all), null, spec);
  }
});

test.run();
