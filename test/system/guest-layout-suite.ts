import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { assertHiddenUntouched } from '#lib/guest/closed-mounts.ts';
import type { Guest, GuestSession } from '#lib/guest/guest.ts';
import { assertCode, failure, type GuestTests, output } from './guest-disk.ts';
import { writeSystem } from './guest-image.ts';
import { btrfsWith, linuxType, makeLayout, marked } from './guest-layouts.ts';

/** The tests of roots and mount points that are hard to find, for any guest. */

const osRelease = { '/etc/os-release': 'ID=debian\n', '/var/lib/dpkg/status': 'Package: base\n' };
const uuid = (digit: string) => `5a1b2c3d-000${digit}-4000-8000-00000000c10d`;
const kernelKnowsBtrfs = (await readFile('/proc/filesystems', 'utf8')).includes('\tbtrfs\n');

const tooLarge = {
  ...{ number: 2, type: linuxType, sizeMiB: 8 },
  content: { make: async (path: string) => void (await exec('mke2fs', ['-q', '-F', '-L', 'LARGE', path, '16m'])) },
};

/** Errors of the time before the build are no fault of the build. */
const errorsOfBefore = 'set_super_value error_count 3\n';

export function testLayouts(kind: Guest['kind'], { directory, withDisk, withImage }: GuestTests): void {
  test('among several systems that of its own fstab is the root, with all that its boot mounts', async () => {
    const fstab = [
      `UUID="${uuid('2').toUpperCase()}" / ext4 defaults 0 1`,
      "PARTLABEL='my\\040data' /srv/my\\040data ext4 noauto,x-systemd.automount 0 2",
      `/dev/disk/by-partuuid/${uuid('6')} /var ext4 defaults 0 2`,
      'LABEL=USR /usr ext4 defaults 0 2',
      'LABEL=USR /again ext4 noauto 0 2',
      '/srv/my\\040data/bound /opt none bind 0 0',
      '/etc/hosts /etc/other none bind 0 0',
      'tmpfs /var/tmp tmpfs size=1m 0 0',
      'tmpfs /mnt tmpfs size=1m 0 0',
      `/dev/disk/by-uuid/${uuid('7')} /xfs xfs defaults 0 0`,
      'LABEL=ODD /odd ext4 defaults 0 0',
      'LABEL=LARGE /large auto defaults 0 0',
      'server:/export /net nfs nofail 0 0',
      'overlay /etc/over overlay lowerdir=/a,upperdir=/b,workdir=/c 0 0',
      '/swapfile none swap sw 0 0',
      'proc /proc proc defaults 0 0',
    ].join('\n');
    const unit = '[Unit]\nDescription=x\n[Mount]\nWhat=/dev/disk/by-label/UNIT\nWhere=/unit\nType=ext4\n';
    const image = await makeLayout(directory, 'several', [
      // A copy of the system, made before it was moved.
      {
        ...{ number: 1, type: linuxType, sizeMiB: 16 },
        content: { ext: ['-U', uuid('1')], files: { ...osRelease, '/etc/fstab': `UUID=${uuid('2')} / ext4\n` } },
      },
      {
        ...{ number: 2, type: linuxType, sizeMiB: 24 },
        content: {
          ...{ ext: ['-U', uuid('2'), '-e', 'panic'], system: 'without-usr' },
          files: {
            '/etc/os-release': 'ID=debian\n',
            '/etc/fstab': fstab,
            '/etc/hosts': '',
            '/etc/systemd/system/unit.mount': unit,
          },
          links: { '/etc/systemd/system/local-fs.target.wants/unit.mount': '../unit.mount' },
        },
      },
      {
        ...{ number: 3, type: linuxType, name: 'my data', sizeMiB: 8 },
        content: { ext: [], files: { '/bound/inside': 'bound' } },
      },
      {
        ...{ number: 4, type: 'BC13C2FF-59E6-4262-A352-B275FD6F7172', sizeMiB: 8 },
        content: { ext: [], files: { '/vmlinuz': 'a kernel' } },
      },
      { ...{ number: 5, type: linuxType, sizeMiB: 24 }, content: { ext: ['-L', 'USR'], system: 'usr' } },
      {
        ...{ number: 6, type: linuxType, sizeMiB: 8, uuid: uuid('6') },
        content: { ext: [], files: { '/lib/dpkg/status': 'x', '/cache/x': '', '/log/x': '' } },
      },
      {
        ...{ number: 7, type: linuxType, sizeMiB: 8 },
        content: { ext: ['-L', 'UNIT'], files: { '/of-unit': '' }, tampering: errorsOfBefore },
      },
      {
        ...{ number: 8, type: linuxType, sizeMiB: 320 },
        content: { make: async (path) => void (await exec('mkfs.xfs', ['-q', '-m', `uuid=${uuid('7')}`, path])) },
      },
      {
        ...{ number: 9, type: linuxType, sizeMiB: 8 },
        content: {
          async make(path) {
            await exec('mke2fs', ['-q', '-F', '-t', 'ext4', '-L', 'ODD', path]);
            await exec('debugfs', ['-w', '-R', 'feature FEATURE_I20', path]);
          },
        },
      },
      { ...tooLarge, number: 10 },
    ]);
    await withDisk(image, async (disk) => {
      const notices: string[] = [];
      await using session = await disk.open({ onNotice: (message) => notices.push(message) });
      assert.equal(session.mounted.toSorted(), ['/', '/boot', '/srv/my data', '/unit', '/usr', '/var', '/xfs']);
      assert.match(notices.join('\n'), /partition 2 is the root of the image: its \/etc\/fstab names it/);
      const look = 'ls /opt /unit /boot /var/lib; cat "/srv/my data/bound/inside"';
      assert.is(
        await output(session, look),
        '/boot:\nlost+found\nvmlinuz\n\n/opt:\ninside\n\n/unit:\nlost+found\nof-unit\n\n/var/lib:\ndpkg\nbound',
      );
      // A damaged image must not stop the machine, whatever its superblock says.
      assert.match(await output(session, 'grep " / " /proc/mounts'), 'errors=continue');
      const closed = session.notMounted.map(({ target, expected }) => `${target}${expected === true ? ' quiet' : ''}`);
      assert.equal(closed.toSorted(), ['/etc/other', '/etc/over', '/large', '/mnt quiet', '/net', '/odd']);
      const reasons = session.notMounted.map(({ reason }) => reason).join('\n');
      assert.match(reasons, /may lack features that it has \(unknown incompat bits 0x100000\)/);
      assert.match(reasons, 'ext2: it has 16777216 bytes, and its partition only 8388608');
      assert.not.match([reasons, ...notices].join('\n'), directory);
      await session.run({
        name: 'fine',
        text: 'echo new >/opt/new; echo new >/xfs/new; echo new >/var/tmp/new; echo >/unit/new',
      });
      await assertHiddenUntouched(session, session.notMounted);
      await session.run({ name: 'hidden', text: 'mkdir -p /net; echo new >/net/file' });
      assertCode(
        await failure(assertHiddenUntouched(session, session.notMounted)),
        'image.unsupported',
        /\/net is a mount point.*\(nfs\)/,
      );
      await session.close();
    });
  });

  test('two whole systems without a hint at either, and roots that no guest opens, are refused by name', async () => {
    const twin = (number: number) => ({
      ...{ number, type: linuxType, sizeMiB: 8 },
      content: { ext: [], files: { ...osRelease, '/etc/fstab': '# empty\n' } },
    });
    await withDisk(await makeLayout(directory, 'twins', [twin(1), twin(2)]), async (disk) => {
      const message = /more than one system.*partition 1 \(.*dpkg\) and partition 2 \(/;
      assertCode(await failure(disk.open()), 'image.unsupported', message);
    });
    const boot = {
      ...{ number: 1, type: linuxType, sizeMiB: 8 },
      content: { ext: [], files: { '/vmlinuz': '', '/grub/grub.cfg': '' } },
    };
    const lvm = {
      ...{ number: 2, type: 'E6D6D379-F507-44C2-A23C-238F2A3DF928', sizeMiB: 8 },
      content: marked(512, `LABELONE${'\0'.repeat(16)}LVM2 001`),
    };
    await withDisk(await makeLayout(directory, 'lvm', [boot, lvm]), async (disk) => {
      const message = /no root partition.*partition 2 holds an LVM physical volume.*partition 1: ext4/;
      assertCode(await failure(disk.open()), 'image.unsupported', message);
    });
  });

  test('folders for the file systems of the kernel are made where the image lacks them', async () => {
    const tampering = ['dev', 'proc', 'run', 'sys', 'tmp'].map((folder) => `rmdir /${folder}\n`).join('');
    await withImage({ tampering }, async (disk) => {
      await using session = await disk.open();
      assert.is(await output(session, 'stat -c %a /tmp; ls -d /proc/self /dev/null'), '1777\n/dev/null\n/proc/self');
      await session.close();
    });
  });

  test('features that a kernel lacks are named, and the file system opens where they are known', async () => {
    const features = ['-b', '4096', '-O', 'quota,project,casefold,encrypt,verity,bigalloc'];
    const root = {
      ...{ number: 1, type: linuxType, sizeMiB: 64 },
      content: { ext: features, system: 'whole' as const },
    };
    await withDisk(await makeLayout(directory, 'features', [root, tooLarge]), async (disk) => {
      const opened = await disk.open().catch((error: unknown) => error);
      if (opened instanceof Error) {
        if (kind !== 'host') throw opened;
        assertCode(
          opened,
          'image.unsupported',
          /partition 1 .*may lack features that it has \(casefold; quota; project\).*vm/,
        );
        assert.not.match(opened.message, directory);
        return;
      }
      await using session = opened as GuestSession;
      assert.equal(session.mounted, ['/']);
      await session.close();
    });
    const large = await makeLayout(directory, 'large', [{ ...tooLarge, number: 1 }]);
    await withDisk(large, async (disk) => {
      assertCode(await failure(disk.open()), 'image.unsupported', /ext2 of partition 1: it has 16777216 bytes/);
    });
  });
}

/** For a process of root, on a machine whose kernel makes the subvolumes; elsewhere there is nothing to test with. */
export function testBtrfs(kind: Guest['kind'], { directory, withDisk }: GuestTests): void {
  if (!kernelKnowsBtrfs) return;

  test(`the ${kind} guest finds the root of a btrfs in a subvolume, and opens others with it`, async () => {
    const id = uuid(kind === 'host' ? '8' : '9');
    const fstab = `UUID=${id} / btrfs subvol=@ 0 0\nUUID=${id} /home btrfs defaults,subvol=/@home 0 0\nUUID=${id} /srv btrfs subvol=@srv 0 0\n`;
    const files = { ...osRelease, '/etc/fstab': fstab };
    const content = btrfsWith(['-U', id], {
      '@': async (tree) => await writeSystem(tree, { files }),
      '@home': async (tree) => await writeFile(join(tree, 'user'), ''),
      '@before-upgrade': async (tree) => await writeSystem(tree, { files }),
    });
    const image = await makeLayout(directory, 'btrfs', [{ number: 1, type: linuxType, sizeMiB: 128, content }]);
    await withDisk(image, async (disk) => {
      const notices: string[] = [];
      await using session = await disk.open({ onNotice: (message) => notices.push(message) });
      assert.equal(session.mounted, ['/', '/home']);
      assert.match(notices.join('\n'), /the subvolume @ of partition 1 is the root of the image: its \/etc\/fstab/);
      assert.equal(
        session.notMounted.map(({ target }) => target),
        ['/srv'],
      );
      assert.match(notices.join('\n'), '/srv stays closed: its btrfs has no subvolume');
      assert.is(await output(session, 'ls /home; echo new >/new; echo new >/home/new; stat -c %u /new'), 'user\n0');
      await session.close();
      await using again = await disk.open();
      assert.is(await output(again, 'cat /new /home/new'), 'new\nnew');
    });
  });

  if (kind !== 'host') return;
  test('the kernel’s command line in a /boot of its own names the subvolume of the root', async () => {
    const system = async (tree: string) => await writeSystem(tree, { files: osRelease });
    const names = { old: system, 'old/new': system, 'bad,suid': system, other: system };
    const image = await makeLayout(directory, 'rootflags', [
      { ...{ number: 1, type: linuxType, sizeMiB: 128 }, content: btrfsWith([], names) },
      {
        ...{ number: 2, type: linuxType, sizeMiB: 8 },
        content: {
          ext: [],
          files: { '/grub/grub.cfg': '\tlinux /vmlinuz root=LABEL=x ro rootflags=ro,subvol=old/new\n' },
        },
      },
    ]);
    await withDisk(image, async (disk) => {
      await using session = await disk.open();
      assert.match(await output(session, 'grep " / btrfs" /proc/mounts'), 'subvol=/old/new 0 0');
      await session.close();
    });
  });
}
