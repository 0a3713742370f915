import { mkdir, readFile, rm, stat, utimes } from 'node:fs/promises';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { spliceSquashfs } from '#lib/squashfs/splice/splice.ts';
import { failure } from '../failure.ts';
import { assertSame, type FileSpec, type Files, spec } from '../squashfs/files.ts';
import { limits, makeSquashfs, openFile, readFiles } from '../squashfs/make.ts';
import { viewOf } from '../squashfs/overlay.ts';
import { randomFiles } from '../squashfs/random-files.ts';
import { noise, world } from '../squashfs/world.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';

/** Splices of files that squashfs-tools has made, against the view that overlayfs gives of their parts. */

type Folder = Awaited<ReturnType<typeof temporaryFolder>>;

/** Makes both, splices them into `name`, and returns what the result holds. */
async function splice(
  folder: Folder,
  name: string,
  [base, delta]: readonly [Files, Files],
  { bottom = true, options = [] as readonly string[] } = {},
): Promise<Files> {
  for (const each of ['base', 'delta', name]) await rm(folder.file(each), { force: true });
  await makeSquashfs(folder.file('base'), base, ...options);
  await makeSquashfs(folder.file('delta'), delta, ...options);
  await spliceFiles(folder, name, bottom);
  await using opened = await openFile(folder.file(name));
  return await readFiles(opened.squashfs);
}

async function spliceFiles(folder: Folder, name: string, bottom: boolean): Promise<void> {
  await using base = await openFile(folder.file('base'));
  await using delta = await openFile(folder.file('delta'));
  const spliced = await spliceSquashfs(base.squashfs, delta.squashfs, folder.file(name), {
    ...{ bottom, signal: limits.signal },
  });
  assert.is(spliced.sizeBytes, (await stat(folder.file(name))).size);
  assert.is(spliced.sizeBytes % 4096, 0);
}

const whiteout = spec('character', { mode: 0, device: [0, 0], inode: 'whiteout' });
const opaque = { 'trusted.overlay.opaque': Buffer.from('y') };

/** A change of everything in `world`. */
function change(): Files {
  return new Map<string, FileSpec>([
    ['bin', spec('directory', { mode: 0o711 })],
    ['bin/tool', spec('file', { content: noise('tool', 200_000) })],
    ['dev', spec('directory', { attributes: opaque })],
    ['dev/zero', spec('character', { device: [1, 5] })],
    ['empty', whiteout],
    ['etc', spec('directory', { modifiedSeconds: 1_800_000_000, attributes: { 'user.new': Buffer.from('1') } })],
    ['etc/os-release', spec('file', { content: Buffer.from('ID=changed\n') })],
    ['etc/shadow', whiteout],
    ['etc/new', spec('file', { content: noise('new', 10), uid: 77_777 })],
    ['usr', spec('directory', { attributes: { 'trusted.overlay.origin': Buffer.from('x') } })],
    ['usr/bin', spec('directory')],
    ['usr/bin/su', spec('file', { mode: 0o755, content: noise('other', 140_000) })],
    ['usr/attributes', spec('symlink', { target: 'etc' })],
    ['usr/text', spec('directory')],
    ['usr/text/inside', spec('file', { content: Buffer.from('x'), attributes: { 'user.long': noise('long', 5000) } })],
  ]);
}

const variants: Record<string, readonly string[]> = {
  gzip: ['-comp', 'gzip'],
  'xz with a filter and small blocks': ['-comp', 'xz', '-Xbcj', 'x86', '-Xdict-size', '50%', '-b', '65536'],
  zstd: ['-comp', 'zstd'],
  lz4: ['-comp', 'lz4', '-Xhc'],
  'no fragments': ['-comp', 'gzip', '-no-fragments'],
  'nothing compressed': ['-comp', 'xz', '-noI', '-noD', '-noF', '-noX'],
  'no export table': ['-comp', 'zstd', '-no-exports'],
};

for (const [name, options] of Object.entries(variants)) {
  test(`${name}: a splice holds what an overlay of its parts shows`, async () => {
    await using folder = await temporaryFolder();
    const spliced = await splice(folder, 'result', [world(), change()], { options });
    assertSame(spliced, viewOf(world(), change()));
    // unsquashfs reads every block.
    const { stdout } = await exec('unsquashfs', ['-lln', '-d', '', folder.file('result')]);
    assert.match(stdout, /^-rwxr-xr-x 0\/0 +140000 .*\/usr\/bin\/su$/m);
    assert.not.match(stdout, /shadow/);
  });
}

test('the root keeps the owner, the mode and the time of the base, and NFS its table', async () => {
  await using folder = await temporaryFolder();
  await mkdir(folder.file('tree'));
  await utimes(folder.file('tree'), 1_600_000_000, 1_600_000_000);
  const root = ['-root-mode', '1750', '-quiet', '-no-progress', '-noappend'];
  for (const [name, options] of [
    ['with', []],
    ['without', ['-no-exports']],
  ] as const) {
    await exec('mksquashfs', [folder.file('tree'), folder.file('base'), ...root, '-force-uid', '12', ...options]);
    await rm(folder.file('delta'), { force: true });
    await makeSquashfs(folder.file('delta'), change(), ...options);
    await spliceFiles(folder, name, true);
    await using opened = await openFile(folder.file(name));
    const { root: inode, superblock } = opened.squashfs;
    assert.equal([inode.uid, inode.mode, inode.modifiedSeconds], [12, 0o1750, 1_600_000_000]);
    assert.is(superblock.exportTable !== null, name === 'with');
  }
});

test('a file of several names keeps the others, and their number, when one is replaced', async () => {
  await using folder = await temporaryFolder();
  await splice(folder, 'result', [world(), change()]);
  await using opened = await openFile(folder.file('result'));
  assert.is(opened.squashfs.find('usr/bin/su.too')?.links, 1);
  await splice(folder, 'same', [world(), new Map([['etc', spec('directory')]])]);
  await using same = await openFile(folder.file('same'));
  assert.is(same.squashfs.find('usr/bin/su')?.links, 2);
});

test('a splice of nothing changes nothing, and nothing can be spliced', async () => {
  await using folder = await temporaryFolder();
  assertSame(await splice(folder, 'a', [world(), new Map()]), world());
  assertSame(await splice(folder, 'b', [new Map(), world()]), viewOf(world()));
  assertSame(await splice(folder, 'c', [new Map(), new Map()]), new Map());
});

test('a splice of a splice is one again', async () => {
  await using folder = await temporaryFolder();
  const once = await splice(folder, 'once', [world(), change()], { options: ['-comp', 'xz'] });
  const more: Files = new Map([
    ['many', whiteout],
    ['more', spec('file', { content: noise('more', 300_000) })],
  ]);
  await makeSquashfs(folder.file('more'), more, '-comp', 'xz');
  await using base = await openFile(folder.file('once'));
  await using delta = await openFile(folder.file('more'));
  await spliceSquashfs(base.squashfs, delta.squashfs, folder.file('twice'), { bottom: true, signal: limits.signal });
  await using twice = await openFile(folder.file('twice'));
  assertSame(await readFiles(twice.squashfs), viewOf(once, more));
});

test('any delta over any base shows what an overlay shows, with and without a layer below', async () => {
  await using folder = await temporaryFolder();
  await fc.assert(
    fc.asyncProperty(randomFiles, randomFiles, randomFiles, async (below, base, delta) => {
      const options = ['-comp', 'gzip', '-b', '4096'];
      const bottom = await splice(folder, 'bottom', [base, delta], { options });
      assertSame(viewOf(bottom), viewOf(base, delta), 'bottom');
      assert.not.ok(
        [...bottom.values()].some(({ device }) => device?.join() === '0,0'),
        'no whiteouts',
      );
      const upper = await splice(folder, 'upper', [base, delta], { bottom: false, options });
      assertSame(viewOf(below, upper), viewOf(below, base, delta), 'upper');
    }),
    { numRuns: 60 },
  );
});

test('a large directory gets an index, and its names are found', async () => {
  await using folder = await temporaryFolder();
  const delta: Files = new Map<string, FileSpec>([
    ['many', spec('directory')],
    ...Array.from({ length: 1500 }, (_, index): [string, FileSpec] => [`many/new ${index}`, spec('fifo')]),
  ]);
  const spliced = await splice(folder, 'result', [world(), delta]);
  assertSame(viewOf(spliced), viewOf(world(), delta));
});

test('a delta of another compressor, block size or dictionary is refused', async () => {
  await using folder = await temporaryFolder();
  const cases = [
    [['-comp', 'gzip'], ['-comp', 'xz'], /compressor is gzip, that of the delta xz/],
    [['-b', '65536'], [], /blocks have 65536 bytes, those of the delta 131072/],
    [['-comp', 'xz', '-Xdict-size', '50%'], ['-comp', 'xz'], /dictionary has 65536 bytes, that of the delta 131072/],
  ] as const;
  for (const [base, delta, expected] of cases) {
    for (const name of ['base', 'delta']) await rm(folder.file(name), { force: true });
    await makeSquashfs(folder.file('base'), world(), ...base);
    await makeSquashfs(folder.file('delta'), change(), ...delta);
    const error = await failure(spliceFiles(folder, 'result', true));
    assert.is(error.code, 'image.unsupported');
    assert.match(error.message, expected);
  }
});

test('a delta whose content is elsewhere is refused', async () => {
  await using folder = await temporaryFolder();
  for (const name of ['trusted.overlay.metacopy', 'trusted.overlay.redirect', 'user.overlay.redirect']) {
    const delta = new Map([['etc', spec('directory', { attributes: { [name]: Buffer.from('/x') } })]]);
    await rm(folder.file('result'), { force: true });
    assert.match((await failure(splice(folder, 'result', [world(), delta]))).message, `attribute ${name}`);
  }
});

/** The kernel's own view of layers, the lowest first, as one archive: names, owners, modes, times, content, attributes. */
async function archiveOf(folder: Folder, name: string, layers: readonly string[]): Promise<Buffer> {
  const script = `set -e
    cd "$0"; output=$1; shift; mkdir -p mnt/empty mnt/view; lower=mnt/empty
    for layer in "$@"; do
      mkdir -p "mnt/$layer"; mount -t squashfs -o loop,ro "$layer" "mnt/$layer"; lower="mnt/$layer:$lower"
    done
    mount -t overlay -o "ro,lowerdir=$lower,redirect_dir=off,index=off,metacopy=off,xino=off" none mnt/view
    cd mnt/view
    find . -mindepth 1 -maxdepth 1 -print0 | LC_ALL=C sort -z | tar --null --files-from=- --create --sort=name --numeric-owner \\
      --format=pax --pax-option=delete=atime,delete=ctime --xattrs --xattrs-include='*' \\
      --xattrs-exclude='trusted.overlay.*' --file="$output"`;
  const archive = folder.file(`${name}.tar`);
  const inside = ['--mount', '--propagation', 'private', 'bash', '-c', script, folder.path, archive, ...layers];
  await exec('unshare', inside);
  const content = await readFile(archive);
  await rm(archive);
  return content;
}

const kernel = await readFile('/proc/filesystems', 'utf8');
const mountable = process.getuid?.() === 0 && /\tsquashfs$/m.test(kernel) && /\toverlay$/m.test(kernel);
const withKernel = mountable ? test : test.skip;

for (const [name, options] of Object.entries(variants)) {
  withKernel(`${name}: the kernel mounts a splice, and shows what it shows of an overlay of the parts`, async () => {
    await using folder = await temporaryFolder();
    await makeSquashfs(folder.file('below'), change(), ...options);
    await splice(folder, 'bottom', [world(), change()], { options });
    await spliceFiles(folder, 'upper', false);
    for (const [spliced, parts] of [
      [['bottom'], ['base', 'delta']],
      [
        ['below', 'upper'],
        ['below', 'base', 'delta'],
      ],
    ] as const) {
      const [one, other] = [await archiveOf(folder, 'one', spliced), await archiveOf(folder, 'other', parts)];
      assert.ok(one.length > 1_000_000 && one.equals(other), spliced.join());
    }
  });
}

test.run();
