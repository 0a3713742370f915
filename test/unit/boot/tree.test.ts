import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Found, hasContent, parseBootMounts, parseTree } from '#lib/boot/tree.ts';
import type { Partition } from '#lib/image/partition.ts';

const partition = (number: number): Partition => ({
  ...{ number, offsetBytes: number * 2 ** 20, sizeBytes: 2 ** 20, type: null, name: null, partitionUuid: null },
  fileSystem: { type: 'ext4', label: null, uuid: `uuid-${number}` },
});
const [root, boot] = [partition(1), partition(16)];
const mountinfo = `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/image1 rw
23 22 254:16 / /boot rw,relatime - ext4 /dev/image16 rw
24 22 0:5 / /tmp rw - tmpfs tmpfs rw
`;
const listing = [
  ...[
    'd\t0\t/\t',
    'd\t0\t/boot\t',
    'l\t27\t/vmlinuz\tboot/vmlinuz-1',
    'f\t9\t/boot/vmlinuz-1\t',
    'f\t0\t/boot/empty\t',
  ],
  ...[
    'l\t1\t/boot/whole\t/boot/vmlinuz-1',
    'l\t1\t/boot/near\tvmlinuz-1',
    'l\t1\t/boot/loop\tloop',
    'l\t1\t/boot/up\t../x',
  ],
  ...['l\t1\t/boot/out\t/usr/lib/x', 'd\t0\t/usr\t', 'd\t0\t/boot/grub\t'],
].join('\n');
const pathOf = (found: Found) => (typeof found === 'string' ? found : found.path);

test('a boot loader follows links on the partition that it reads, the system over all of them', () => {
  const tree = parseTree(listing, parseBootMounts(mountinfo, [root, boot]));
  assert.is(pathOf(tree.find('/vmlinuz')), '/boot/vmlinuz-1');
  assert.is(pathOf(tree.find('/boot/whole')), '/boot/vmlinuz-1');
  assert.is(pathOf(tree.findOn(boot, '/vmlinuz-1')), '/boot/vmlinuz-1');
  assert.is(pathOf(tree.findOn(boot, '/near')), '/boot/vmlinuz-1');
  assert.is(tree.findOn(boot, '/whole'), 'missing', 'there is no /boot on that partition');
  assert.is(tree.findOn(boot, '/boot/vmlinuz-1'), 'missing');
});

test('links that go in circles, or up from the root, end; files elsewhere are not known', () => {
  const tree = parseTree(listing, parseBootMounts(mountinfo, [root, boot]));
  assert.is(tree.find('/boot/loop'), 'missing');
  assert.is(tree.findOn(boot, '/up'), 'missing');
  assert.is(tree.find('/boot/out'), 'unknown');
  assert.is(tree.find('/usr/lib/x'), 'unknown');
  assert.is(tree.find('/nowhere'), 'missing');
  assert.not.ok(hasContent(tree.find('/boot/empty')));
  assert.not.ok(hasContent(tree.find('/boot/grub')));
  assert.is(tree.findOn(partition(7), '/x'), 'unknown');
});

test('the files of a subvolume have its name before them', () => {
  const line = '22 1 254:1 /@ / rw - btrfs /dev/image1 rw\n';
  const tree = parseTree('d\t0\t/boot\t\nf\t9\t/boot/vmlinuz-1\t', parseBootMounts(line, [root]));
  assert.is(pathOf(tree.findOn(root, '/@/boot/vmlinuz-1')), '/boot/vmlinuz-1');
  assert.is(tree.findOn(root, '/boot/vmlinuz-1'), 'unknown');
});

test.run();
