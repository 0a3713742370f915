import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseTable } from '#lib/guest/fstab.ts';
import { planMounts } from '#lib/guest/plan-mounts.ts';
import type { FileSystem, Partition } from '#lib/image/partition.ts';

const partition = (number: number, type: FileSystem['type'], label: string): Partition => ({
  ...{ number, offsetBytes: number * 2 ** 20, sizeBytes: 2 ** 20, type: null, name: null, partitionUuid: null },
  fileSystem: { type, label, uuid: `uuid-${number}` },
});
const root = partition(1, 'ext4', 'cloudimg-rootfs');
const efi = partition(15, 'vfat', 'UEFI');
const boot = partition(16, 'ext4', 'BOOT');
const partitions = [root, efi, boot];

const planOf = (fstab: string) => {
  const { mounts, closed } = planMounts({ fstab }, partitions, root);
  return { mounts: mounts.map(({ partition, target }) => ({ partition, target })), closed };
};

test('partitions are mounted parents first, whatever the order of the lines', () => {
  const text =
    'LABEL=UEFI /boot/efi vfat umask=0077 0 1\nLABEL=cloudimg-rootfs / ext4 discard 0 1\nUUID=uuid-16 /boot/ ext4';
  assert.equal(planOf(text), {
    mounts: [
      { partition: boot, target: '/boot' },
      { partition: efi, target: '/boot/efi' },
    ],
    closed: [],
  });
});

test('a partition that is not in the image is named, unless it need not be there', () => {
  const { mounts, closed } = planMounts(
    { fstab: 'LABEL=data /srv/my\\040data xfs nofail,noatime\n/dev/vdb /mnt auto' },
    partitions,
    root,
  );
  assert.equal(mounts, []);
  assert.equal(closed, [
    { target: '/srv/my data', reason: null },
    { target: '/mnt', reason: 'the image has no partition /dev/vdb' },
  ]);
});

test('two partitions that one name fits stay closed, and it is said why', () => {
  const { mounts, closed } = planMounts(
    { fstab: 'LABEL=BOOT /boot ext4' },
    [...partitions, { ...boot, number: 3 }],
    root,
  );
  assert.equal(mounts, []);
  assert.equal(closed, [{ target: '/boot', reason: 'more than one partition of the image is LABEL=BOOT' }]);
});

test('a partition is mounted once, whatever an fstab says: two mounts of one disk would destroy it', () => {
  const text = 'LABEL=BOOT /boot ext4\nUUID=uuid-16 /also ext4\nLABEL=BOOT /boot ext4 ro\nUUID=uuid-1 /again ext4';
  assert.equal(planOf(text), {
    mounts: [{ partition: boot, target: '/boot' }],
    closed: [{ target: '/also', reason: 'UUID=uuid-16 is open as /boot already' }],
  });
});

test('nothing is mounted over what belongs to the guest', () => {
  const targets = ['/proc', '/proc/self', '/run/imagebuilder', '/dev', '/sys', '/tmp/x'];
  for (const target of targets) {
    assert.equal(planOf(`LABEL=BOOT ${target} ext4`), {
      mounts: [],
      closed: [{ target, reason: null }],
    });
  }
  assert.is(planMounts({ fstab: 'LABEL=BOOT /process ext4' }, partitions, root).mounts.length, 1);
});

test('an fstab of thousands of lines is refused', () => {
  const text = Array.from({ length: 5_000 }, (_, index) => `LABEL=none${index} /mnt/${index} ext4\n`).join('');
  assert.throws(() => planMounts({ fstab: text }, partitions, root), /has 5000 mount points/);
});

test('entries that mount no block device at boot are left out', () => {
  const text = [
    ...['# LABEL=BOOT /boot ext4', '', 'garbage', 'tmpfs /tmp tmpfs', 'server:/export /srv nfs', '/old /new none bind'],
    ...['LABEL=BOOT none swap sw', 'LABEL=BOOT /boot ext4 noauto', 'LABEL=BOOT relative ext4', '/dev/sda3 none swap'],
  ];
  assert.equal(planOf(text.join('\n')).mounts, []);
});

test('mount points that would lead elsewhere, or hold control characters, are left out', () => {
  assert.equal(
    parseTable('LABEL=BOOT /boot/../../etc ext4\nLABEL=BOOT /boot\\012x ext4\nLABEL=BOOT /a\\011b ext4'),
    [],
  );
});

test('of several lines for a mount point the first counts, and an automount is open', () => {
  const text = 'LABEL=BOOT /boot ext4 noauto\nLABEL=UEFI /boot vfat\nLABEL=UEFI /efi vfat noauto,x-systemd.automount';
  assert.equal(planOf(text), { mounts: [{ partition: efi, target: '/efi' }], closed: [] });
});

test('folders that appear twice are open twice, and what no build can mount stays closed', () => {
  const text = [
    ...[
      '/data/opt /opt none bind',
      '/sys/x /y none bind',
      'tmpfs /mnt tmpfs',
      'tmpfs /var/log tmpfs',
      'proc /proc proc',
    ],
    ...['server:/x /net nfs4', '//server/x /share cifs credentials=/etc/secret', 'overlay /etc overlay lowerdir=/etc'],
    ...['overlay /lib overlay lowerdir=/x:/y', '/swapfile none swap', '/disk.img /loop ext4 loop'],
  ].join('\n');
  const { binds, closed } = planMounts({ fstab: text }, partitions, root);
  assert.equal(binds, [{ source: '/data/opt', target: '/opt' }]);
  assert.equal(
    closed.map(({ target, expected }) => [target, expected === true]),
    [
      ...[['/y', false] as const, ['/mnt', true] as const, ['/net', false] as const, ['/share', false] as const],
      ...[['/lib', false] as const, ['/loop', true] as const],
    ],
  );
  assert.not.match(JSON.stringify(closed), 'secret');
});

test('an image may have any number of snaps, which are no reason for a warning', () => {
  const unit = (name: string) =>
    `[Mount]\nWhat=/var/lib/snapd/snaps/${name}.snap\nWhere=/snap/${name}\nType=squashfs\n`;
  const names = Array.from({ length: 100 }, (_, index) => `core${index}`);
  const units = new Map(names.map((name) => [`snap-${name}.mount`, unit(name)] as const));
  const { mounts, closed } = planMounts({ fstab: 'LABEL=BOOT /boot ext4', units }, partitions, root);
  assert.is(mounts.length, 1);
  assert.is(closed.filter(({ expected }) => expected === true).length, 100);
});

test('mount units that are enabled win over the fstab', () => {
  const unit = '[Unit]\nWhat=no\n[Mount]\nWhat=LABEL=UEFI\nWhere=/boot\nType=vfat\nOptions=umask=0077\n[Install]\n';
  const { mounts } = planMounts(
    { fstab: 'LABEL=BOOT /boot ext4', units: new Map([['boot.mount', unit]]) },
    partitions,
    root,
  );
  assert.equal(mounts, [{ partition: efi, target: '/boot', subvolume: '' }]);
});

test('subvolumes of one btrfs are open as often as the fstab says, and other partitions once', () => {
  const disk = partition(1, 'btrfs', 'system');
  const text =
    'LABEL=system /home btrfs subvol=@home\nLABEL=system /srv btrfs subvolid=258\nLABEL=system /top btrfs subvol=/';
  const { mounts } = planMounts({ fstab: `${text}\nLABEL=system /x btrfs subvol=a\\054b` }, [disk], disk);
  assert.equal(
    mounts.map(({ target, subvolume }) => [target, subvolume]),
    [
      ['/home', 'subvol=/@home'],
      ['/srv', 'subvolid=258'],
      ['/top', 'subvolid=5'],
    ],
  );
});

test('partitions are found by their types where no entry names them, and where they hide no file', () => {
  const typed = (number: number, type: string, over: Partial<Partition> = {}): Partition => ({
    ...partition(number, 'ext4', `L${number}`),
    ...{ type, ...over },
  });
  const xbootldr = typed(2, 'bc13c2ff-59e6-4262-a352-b275fd6f7172');
  const esp = typed(3, 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b');
  const home = typed(4, '933ac7e1-2eb4-4f13-b844-0e14e2aef915');
  const machineId = '0123456789abcdef0123456789abcdef';
  // As `systemd-id128 machine-id --app-specific` of the type says on a machine with this id.
  const ofMachine = typed(5, '4d21b016-b534-45c2-a9fb-5c16e091fd2d', {
    partitionUuid: 'c0c46eff-e386-4746-a2bd-0962cd326ea2',
  });
  const find = (sources: Parameters<typeof planMounts>[0], all: readonly Partition[]) =>
    planMounts(sources, [root, ...all], root).mounts.map(({ partition: { number }, target }) => `${number} ${target}`);
  const all = [xbootldr, esp, home, ofMachine];
  assert.equal(find({ fstab: '' }, all), ['2 /boot', '4 /home']);
  assert.equal(find({ fstab: '', machineId }, [ofMachine]), ['5 /var']);
  assert.equal(find({ fstab: '', folders: new Map([['efi', 'empty']]) }, all), ['2 /boot', '3 /efi', '4 /home']);
  assert.equal(
    find(
      {
        fstab: '',
        folders: new Map([
          ['boot', 'full'],
          ['home', 'full'],
        ]),
      },
      all,
    ),
    [],
  );
  assert.equal(find({ fstab: 'LABEL=L2 /mnt ext4\nLABEL=none /home ext4' }, all), ['2 /mnt']);
  assert.equal(find({ fstab: '' }, [esp]), ['3 /boot']);
  assert.equal(find({ fstab: '' }, [{ ...home, noAuto: true }]), []);
  assert.equal(find({ fstab: '', mountsByType: false }, all), []);
});

test.run();
