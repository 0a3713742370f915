import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import type { GuestSession } from '#lib/guest/guest.ts';
import { beforeChange, sealImage } from '#lib/guest/seal.ts';
import { assertCode, failure, output } from './guest-disk.ts';
import { openVmTests } from './guest-vm-disk.ts';

/**
 * File systems that no tool would write, opened in a vm: each is changed as if nothing were the matter, or refused with
 * a precise error, and nothing of it is left.
 */

const vm = await openVmTests('hostile-vm');

/** The steps of every build around its packages; returns the remains of its two changes before the image is closed. */
async function changeAndSeal(session: GuestSession): Promise<string> {
  const pristine = await beforeChange(session, []);
  await session.run({ name: 'change', text: 'echo more >>/etc/more; echo new >/var/log/new.log' });
  await sealImage(session, pristine);
  const left = await output(session, 'cat /etc/more; cat /var/log/new.log');
  await session.close();
  return left;
}

/** Commands of debugfs(8). */
const circles = {
  'folders that are in themselves, and in each other': `mkdir /var/log/a\nmkdir /var/log/a/b\nln /var/log /var/log/a/b/loop
    mkdir /var/log/c\nmkdir /etc/d\nln /etc/d /var/log/c/d\nln /var/log/c /etc/d/c\n`,
  'its root in itself': 'ln / /var/log/root\nln / /etc/root\n',
};

for (const [what, tampering] of Object.entries(circles)) {
  test(`a file system with ${what} is changed as any other`, async () => {
    await vm.withImage({ tampering }, async (disk) => {
      await using session = await disk.open();
      assert.is(await changeAndSeal(session), 'more');
    });
  });
}

/** Of file systems of less than 512 MiB (mke2fs.conf). */
const blockBytes = 1024;

/** The name of the inode of lost+found, which every ext4 has, in debugfs. */
const lostAndFound = 11;

/** A folder of so many names of one file, as its blocks would hold them. */
function hugeFolder(entries: number, inode: number): Buffer {
  const bytes = Buffer.alloc(Math.ceil((entries * 16) / blockBytes) * blockBytes);
  for (let at = 0; at < bytes.length; at += 16) {
    bytes.writeUInt32LE(inode, at);
    // ext4_dir_entry_2 of Linux' fs/ext4/ext4.h: length of the entry, length of the name, type 1 for a file.
    bytes.writeUInt16LE(16, at + 4);
    bytes.writeUInt8(7, at + 6);
    bytes.writeUInt8(1, at + 7);
    bytes.write(`e${String(at / 16).padStart(6, '0')}`, at + 8);
  }
  return bytes;
}

for (const [folder, what, check] of [
  ['/etc', 'is none of the build’s business', (ended) => assert.is(ended, 'more')],
  [
    '/var/log',
    'is refused where all of them have to be remembered',
    (ended) => assertCode(ended, 'image.unsupported', /too many files in \/var\/log/),
  ],
] as readonly [string, string, (ended: unknown) => void][]) {
  test(`a folder of 150,000 files ${what}`, async () => {
    const path = join(vm.directory, 'huge-folder');
    await writeFile(path, hugeFolder(150_000, lostAndFound));
    const huge = `${folder}/huge`;
    const tampering = `set_inode_field <${lostAndFound}> mode 0100644\nwrite ${path} ${huge}
      set_inode_field ${huge} mode 040755\nset_inode_field ${huge} links_count 2\n`;
    await vm.withImage({ tampering }, async (disk) => {
      await using session = await disk.open();
      const count = 'set -- $(ls /*/huge /var/log/huge 2>/dev/null | wc -l); echo $(($1 / 10000))';
      assert.is(await output(session, count), '15');
      check(await changeAndSeal(session).catch((error: unknown) => error));
    });
  });
}

test('links that lead to themselves at places that are written to are what they were afterwards', async () => {
  const links = {
    '/etc/machine-id': '../etc/machine-id',
    '/usr/sbin/policy-rc.d': './policy-rc.d',
    '/root/.bash_history': '/root/.bash_history',
  };
  await vm.withImage({ links }, async (disk) => {
    {
      await using session = await disk.open();
      assert.is(await changeAndSeal(session), 'more');
    }
    await using session = await disk.open();
    // While it is open, something else is in the place of this one.
    const paths = Object.keys(links).map((path) => path.replace(/policy-rc\.d$/, '$&.imagebuilder'));
    const targets = await output(session, 'for path; do readlink "$path"; done', { arguments: paths });
    assert.equal(targets.split('\n'), Object.values(links));
  });
});

test('a folder of logs that is a link to itself fails what writes there, with the reason', async () => {
  await vm.withImage({ links: { '/var/log': 'log' } }, async (disk) => {
    await using session = await disk.open();
    assertCode(await failure(changeAndSeal(session)), 'tool.failed', /Too many levels of symbolic links/);
  });
});

/** The possible errors of an image that is noise in places; `tool.failed` is of a script that failed in it. */
const codesOfNoise = ['image.corrupt', 'image.unsupported', 'image.full', 'guest.failed', 'tool.failed'];

test('file systems that are noise in places are changed, or refused as that', async () => {
  for (const seed of [1, 2, 3]) {
    // Without checksums of its metadata, so that the kernel takes them at their word.
    await vm.withImage({ tampering: 'stats\n' }, async (disk) => {
      const place = disk.partitions[0];
      assert.ok(place);
      const commands: string[] = [];
      let state = seed;
      for (let count = 0; count < 40; count += 1) {
        // Park and Miller's generator: the same noise in every run.
        state = (state * 48_271) % 2_147_483_647;
        // Most of the metadata is in the first tenth; the superblock, which is tested on its own, stays.
        const block = 2 + (state % Math.floor(place.sizeBytes / blockBytes / 10));
        commands.push('-c', `write -q -P ${state % 256} ${place.offsetBytes + block * blockBytes} 64`);
      }
      await exec('qemu-io', ['-f', 'qcow2', ...commands, disk.overlayPath]);
      const ended = await (async () => {
        await using session = await disk.open();
        return await changeAndSeal(session);
      })().catch((error: unknown) => error);
      if (typeof ended === 'string') return;
      assert.instance(ended, ImageBuilderError, String(ended));
      assert.ok(codesOfNoise.includes((ended as ImageBuilderError).code), String(ended));
    });
  }
});

test.after(vm.remove);

test.run();
