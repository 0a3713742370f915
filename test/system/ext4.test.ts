import { mkdir, open, rm, stat } from 'node:fs/promises';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { untouchedSeconds } from '#lib/ext4/inode.ts';
import { writeExt4 } from '#lib/ext4/write.ts';
import { failure } from '../failure.ts';
import { asMembers, makeExt4 } from '../squashfs/as-ext4.ts';
import { assertSame, type Files, spec } from '../squashfs/files.ts';
import { makeSquashfs, openFile, readFiles } from '../squashfs/make.ts';
import { randomFiles } from '../squashfs/random-files.ts';
import { noise, world } from '../squashfs/world.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';

/** The writer of ext4, against e2fsck and the kernel's own driver. */

type Folder = Awaited<ReturnType<typeof temporaryFolder>>;
const signal = new AbortController().signal;
const MiB = 2 ** 20;

async function assertClean(path: string): Promise<void> {
  const { stdout } = await exec('e2fsck', ['-f', '-n', path], { okExitCodes: [0, 4, 8] });
  assert.match(stdout, /Pass 5: Checking group summary information\n[^\n]*: \d+\/\d+ files/, stdout);
}

/** Runs shell commands in a mount namespace of their own, with the file system at $mount. */
async function inside(folder: Folder, path: string, commands: string): Promise<string> {
  await mkdir(folder.file('mount'), { recursive: true });
  const script = `mount=$1; mount -t ext4 -o loop "$2" "$1" || exit; ${commands}`;
  return (await exec('unshare', ['--mount', 'sh', '-ec', script, 'inside', folder.file('mount'), path])).stdout;
}

/** The files that the kernel finds in it, packed by mksquashfs. */
async function readExt4(folder: Folder, path: string): Promise<Files> {
  const packed = folder.file('packed');
  await rm(packed, { force: true });
  await inside(folder, path, `mksquashfs "$mount" ${packed} -quiet -no-progress -comp lz4 >/dev/null`);
  await using opened = await openFile(packed);
  return await readFiles(opened.squashfs);
}

/** Everything that a root file system can have, as far as ext4 has room for it. */
function tree(): Map<string, ReturnType<typeof spec>> {
  const files = world();
  for (const [path, file] of files) {
    const long = file.attributes?.['user.long'];
    if (long !== undefined) {
      files.set(path, { ...file, attributes: { ...file.attributes, 'user.long': long.subarray(0, 3000) } });
    }
  }
  files.set('" quote \\ $(x) -f', spec('file', { mode: 0o2755, content: noise('quote', 4096) }));
  files.set('short', spec('symlink', { target: 'a'.repeat(59), uid: 1, modifiedSeconds: 4_500_000_000 }));
  files.set('long', spec('symlink', { target: 'a'.repeat(60) }));
  files.set('empty/sock et', spec('directory', { mode: 0o7777, uid: 4_294_967_294, gid: 65_535 }));
  return files;
}

test('the kernel finds everything as it was, and e2fsck no fault', async () => {
  await using folder = await temporaryFolder();
  const path = folder.file('image');
  await makeExt4(path, tree(), 64 * MiB);
  await assertClean(path);
  // mksquashfs keeps the lower 32 bits of a time.
  const cut = [...tree()].map(
    ([name, file]) => [name, { ...file, modifiedSeconds: file.modifiedSeconds % 2 ** 32 }] as const,
  );
  await makeSquashfs(folder.file('expected'), new Map(cut));
  await using expected = await openFile(folder.file('expected'));
  assertSame(await readExt4(folder, path), await readFiles(expected.squashfs));
});

test('every file has the same time of its last change, until it is changed', async () => {
  await using folder = await temporaryFolder();
  const path = folder.file('image');
  await makeExt4(path, tree(), 64 * MiB);
  const find = `find "$mount" -newerct @${untouchedSeconds + 1} -printf '%P\\n' | sort`;
  assert.is(await inside(folder, path, find), '');
  const change =
    'chmod 700 "$mount/etc"; echo x >>"$mount/etc/nothing"; touch -d @0 "$mount/usr/bin/su"; rm "$mount/usr/text"';
  assert.is(await inside(folder, path, `${change}; ${find}`), 'etc\netc/nothing\nusr\nusr/bin/su\nusr/bin/su.too\n');
  await assertClean(path);
});

test('the kernel fills it up, and e2fsck still finds no fault', async () => {
  await using folder = await temporaryFolder();
  const path = folder.file('image');
  await makeExt4(path, tree(), 300 * MiB);
  const fill = [
    'mkdir "$mount/new"; i=0; while [ $i -lt 3000 ]; do : >"$mount/new/some name $i"; i=$((i + 1)); done',
    'rm -r "$mount/many"; cp "$mount/usr/text" "$mount/etc/"',
    'LC_ALL=C dd if=/dev/urandom of="$mount/fill" bs=1M 2>&1 | grep -o "No space left"',
    'ls "$mount/new" | wc -l',
  ].join('\n');
  assert.match(await inside(folder, path, fill), /^No space left\n3000\n$/);
  await assertClean(path);
});

test('a file may have more parts than its inode has room for', async () => {
  await using folder = await temporaryFolder();
  const [path, source] = [folder.file('image'), folder.file('source')];
  // Five extents of 128 MiB.
  const sizeBytes = 513 * MiB;
  await using file = await open(source, 'w+');
  await file.truncate(sizeBytes);
  await file.write('the end', sizeBytes - 7);
  const [member] = asMembers(new Map([['large', spec('file')]])).members;
  assert.ok(member !== undefined);
  await writeExt4(path, [{ ...member, sizeBytes }], { source: file, sizeBytes: 1024 * MiB, signal });
  await assertClean(path);
  assert.is(await inside(folder, path, `cmp "$mount/large" ${source} && tail -c 7 "$mount/large"`), 'the end');
  assert.ok((await stat(path)).blocks * 512 < 8 * MiB, 'zeros take no room');
});

test('ACLs are the ones that setfacl makes', async () => {
  await using folder = await temporaryFolder();
  const path = folder.file('image');
  const acl = Buffer.from(
    '0200000001000700ffffffff02000500e803000004000500ffffffff08000400d007000010000500ffffffff20000000ffffffff',
    'hex',
  );
  const attributes = { 'system.posix_acl_access': acl };
  await makeExt4(path, new Map([['a', spec('file', { mode: 0o750, attributes })]]), 16 * MiB);
  await assertClean(path);
  const said = await inside(folder, path, 'getfattr --absolute-names -e hex -n system.posix_acl_access "$mount/a"');
  assert.is(/=0x([0-9a-f]+)\n/.exec(said)?.[1], acl.toString('hex'));
});

test('random trees', async () => {
  await using folder = await temporaryFolder();
  const path = folder.file('image');
  await fc.assert(
    fc.asyncProperty(randomFiles, async (files) => {
      for (const name of ['image', 'image.source']) await rm(folder.file(name), { force: true });
      await makeExt4(path, files, 8 * MiB);
      await assertClean(path);
      await makeSquashfs(folder.file('expected'), files, '-noappend');
      await using expected = await openFile(folder.file('expected'));
      assertSame(await readExt4(folder, path), await readFiles(expected.squashfs));
    }),
    { numRuns: 8 },
  );
});

test('files that do not fit are refused', async () => {
  await using folder = await temporaryFolder();
  const { message, code } = await failure(makeExt4(folder.file('image'), tree(), 2 * MiB));
  assert.is(code, 'image.too_large');
  assert.match(message, /do not fit into a file system of 2(\.0)? MiB/);
});

test.run();
