import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseFstab, planMounts } from '#lib/guest/fstab.ts';
import type { FileSystem, Partition } from '#lib/image/partition.ts';

const partition = (number: number, type: FileSystem['type'], label: string): Partition => ({
  ...{ number, offsetBytes: number * 2 ** 20, sizeBytes: 2 ** 20, type: null, name: null, partitionUuid: null },
  fileSystem: { type, label, uuid: `uuid-${number}` },
});
const root = partition(1, 'ext4', 'cloudimg-rootfs');
const efi = partition(15, 'vfat', 'UEFI');
const boot = partition(16, 'ext4', 'BOOT');
const partitions = [root, efi, boot];

test('partitions are mounted parents first, whatever the order of the lines', () => {
  const text =
    'LABEL=UEFI /boot/efi vfat umask=0077 0 1\nLABEL=cloudimg-rootfs / ext4 discard 0 1\nUUID=uuid-16 /boot/ ext4';
  assert.equal(planMounts(text, partitions, root), {
    mounts: [
      { partition: boot, target: '/boot' },
      { partition: efi, target: '/boot/efi' },
    ],
    closed: [],
  });
});

test('a partition that is not in the image is named, unless it need not be there', () => {
  const { mounts, closed } = planMounts(
    'LABEL=data /srv/my\\040data xfs nofail,noatime\n/dev/vdb /mnt auto',
    partitions,
    root,
  );
  assert.equal(mounts, []);
  assert.equal(closed, [
    { target: '/srv/my data', reason: null },
    { target: '/mnt', reason: 'the image has no partition /dev/vdb' },
  ]);
});

test('a partition is mounted once, whatever an fstab says: two mounts of one disk would destroy it', () => {
  const text = 'LABEL=BOOT /boot ext4\nUUID=uuid-16 /also ext4\nLABEL=BOOT /boot ext4 ro\nUUID=uuid-1 /again ext4';
  assert.equal(planMounts(text, partitions, root), {
    mounts: [{ partition: boot, target: '/boot' }],
    closed: [{ target: '/also', reason: 'UUID=uuid-16 is open as /boot already' }],
  });
});

test('nothing is mounted over what belongs to the guest', () => {
  const targets = ['/proc', '/proc/self', '/run/imagebuilder', '/dev', '/sys', '/tmp/x'];
  for (const target of targets) {
    assert.equal(planMounts(`LABEL=BOOT ${target} ext4`, partitions, root), {
      mounts: [],
      closed: [{ target, reason: null }],
    });
  }
  assert.is(planMounts('LABEL=BOOT /process ext4', partitions, root).mounts.length, 1);
});

test('an fstab of thousands of lines is refused', () => {
  const text = Array.from({ length: 5_000 }, (_, index) => `LABEL=none${index} /mnt/${index} ext4\n`).join('');
  assert.throws(() => planMounts(text, partitions, root), /has 5000 mount points/);
});

test('entries that mount no block device at boot are left out', () => {
  const text = [
    ...['# LABEL=BOOT /boot ext4', '', 'garbage', 'tmpfs /tmp tmpfs', 'server:/export /srv nfs', '/old /new none bind'],
    ...['LABEL=BOOT none swap sw', 'LABEL=BOOT /boot ext4 noauto', 'LABEL=BOOT relative ext4', '/dev/sda3 none swap'],
  ];
  assert.equal(parseFstab(text.join('\n')), []);
});

test('mount points that would lead elsewhere, or hold control characters, are left out', () => {
  assert.equal(
    parseFstab('LABEL=BOOT /boot/../../etc ext4\nLABEL=BOOT /boot\\012x ext4\nLABEL=BOOT /a\\011b ext4'),
    [],
  );
});

test.run();
