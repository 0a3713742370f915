import { appendFile, mkdir, open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { failure } from '../failure.ts';
import { assertSame, type Files, spec } from '../squashfs/files.ts';
import { makeSquashfs, openFile, readFiles } from '../squashfs/make.ts';
import { noise, world } from '../squashfs/world.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';

/** The reader of SquashFS against files that squashfs-tools has made. */

const compressors = ['gzip', 'xz', 'zstd', 'lz4'] as const;

const variants: Record<string, readonly string[]> = {
  ...Object.fromEntries(compressors.map((name) => [name, ['-comp', name]])),
  'gzip with options and small blocks': [
    '-comp',
    'gzip',
    '-Xcompression-level',
    '3',
    '-Xwindow-size',
    '12',
    '-b',
    '4096',
  ],
  'xz with a dictionary, a filter and large blocks': ['-comp', 'xz', '-Xbcj', 'x86', '-Xdict-size', '50%', '-b', '1M'],
  'zstd with a level': ['-comp', 'zstd', '-Xcompression-level', '3'],
  'lz4 with high compression': ['-comp', 'lz4', '-Xhc'],
  'no fragments': ['-comp', 'xz', '-no-fragments'],
  'fragments of all files': ['-comp', 'zstd', '-always-use-fragments'],
  'nothing compressed': ['-comp', 'xz', '-noI', '-noD', '-noF', '-noX'],
  'no export table': ['-comp', 'gzip', '-no-exports'],
};

for (const [name, options] of Object.entries(variants)) {
  test(`${name}: every entry is read as mksquashfs has written it`, async () => {
    await using folder = await temporaryFolder();
    const path = folder.file('a');
    const files = world();
    await makeSquashfs(path, files, ...options);
    await using opened = await openFile(path);
    assertSame(await readFiles(opened.squashfs), files);
  });
}

test('the options of the compressor make the same options again', async () => {
  await using folder = await temporaryFolder();
  for (const [name, options] of Object.entries(variants)) {
    const facts = async (path: string, given: readonly string[]) => {
      await makeSquashfs(path, new Map([['a', spec('file', { content: noise('a', 10_000) })]]), ...given);
      await using opened = await openFile(path);
      return opened.squashfs.options;
    };
    const first = await facts(folder.file(`${name} a`), options);
    const size = options.includes('-b') ? ['-b', options[options.indexOf('-b') + 1] ?? ''] : [];
    assert.equal(await facts(folder.file(`${name} b`), [...first.arguments, ...size]), first, name);
  }
});

test('without attributes there are none, and an empty file system has no entry', async () => {
  await using folder = await temporaryFolder();
  const bare: Files = new Map([...world()].map(([path, file]) => [path, { ...file, attributes: {} }]));
  await makeSquashfs(folder.file('bare'), world(), '-no-xattrs');
  await makeSquashfs(folder.file('empty'), new Map());
  await using opened = await openFile(folder.file('bare'));
  assertSame(await readFiles(opened.squashfs), bare);
  await using empty = await openFile(folder.file('empty'));
  assert.equal([...empty.squashfs.entries()], []);
});

test('sockets, devices and a file of more than 4 GiB are read where mksquashfs has made them', async () => {
  await using folder = await temporaryFolder();
  const tree = folder.file('tree');
  await mkdir(tree);
  await writeFile(join(tree, 'large'), 'begin');
  await truncate(join(tree, 'large'), 2 ** 32 + 131_073);
  await appendFile(join(tree, 'large'), 'end');
  const pseudo = ['-p', 'socket i 755 1 2 s', '-p', 'fifo i 600 3 4 f', '-p', 'tty c 620 0 5 4 64'];
  await exec('mksquashfs', [tree, folder.file('a'), '-quiet', '-no-progress', '-noappend', ...pseudo]);
  await using opened = await openFile(folder.file('a'));
  const { squashfs } = opened;
  const large = squashfs.find('large');
  assert.is(large?.type === 'file' && large.sizeBytes, 2 ** 32 + 131_076);
  assert.equal([squashfs.find('socket')?.type, squashfs.find('fifo')?.type], ['socket', 'fifo']);
  assert.is(squashfs.find('socket')?.gid, 2);
  assert.ok(large?.type === 'file');
  assert.is((await failure(squashfs.read(large, 2 ** 20))).code, 'image.too_large');
});

test('a layer is read where it lies in a larger file', async () => {
  await using folder = await temporaryFolder();
  await makeSquashfs(folder.file('a'), world(), '-comp', 'xz');
  const layer = await readFile(folder.file('a'));
  await writeFile(folder.file('medium'), Buffer.concat([noise('before', 6144), layer]));
  await using opened = await openFile(folder.file('medium'), { offset: 6144 });
  const release = opened.squashfs.find('/etc/os-release');
  assert.ok(release?.type === 'file');
  assert.is(String(await opened.squashfs.read(release, 100)), 'ID=debian\n');
  assert.is(opened.squashfs.find('etc/missing'), null);
  assert.is(opened.squashfs.find('etc/os-release/x'), null);
  const link = opened.squashfs.find('bin');
  assert.is(link?.type === 'symlink' && link.target, 'usr/bin');
});

test('directories that are too deep, and paths that are too long, are refused', async () => {
  await using folder = await temporaryFolder();
  const chain = (name: string, depth: number): Files =>
    new Map(
      Array.from({ length: depth }, (_, index) => [
        Array(index + 1)
          .fill(name)
          .join('/'),
        spec('directory'),
      ]),
    );
  await makeSquashfs(folder.file('sound'), chain('a', 255));
  await using opened = await openFile(folder.file('sound'));
  assert.is(opened.squashfs.nameCount, 255);
  await makeSquashfs(folder.file('deep'), chain('a', 256));
  assert.match((await failure(openFile(folder.file('deep')))).message, 'more than 256 deep');
  await makeSquashfs(folder.file('long'), chain('a'.repeat(250), 17));
  assert.match((await failure(openFile(folder.file('long')))).message, 'more than 4096 bytes');
});

test('lzma and lzo are refused by their names', async () => {
  await using folder = await temporaryFolder();
  for (const compressor of ['lzma', 'lzo']) {
    await makeSquashfs(folder.file(compressor), new Map(), '-comp', compressor);
    const error = await failure(openFile(folder.file(compressor)));
    assert.is(error.code, 'image.unsupported');
    assert.match(error.message, `compressor ${compressor} is not supported`);
  }
});

test('an image that was appended to is read as well', async () => {
  await using folder = await temporaryFolder();
  await makeSquashfs(folder.file('a'), world());
  await mkdir(folder.file('more'));
  await writeFile(join(folder.file('more'), 'added'), 'added');
  await exec('mksquashfs', [folder.file('more'), folder.file('a'), '-quiet', '-no-progress']);
  await using opened = await openFile(folder.file('a'));
  assert.is(opened.squashfs.find('added')?.type, 'file');
  assert.is(opened.squashfs.find('usr/bin/su')?.mode, 0o4755);
});

test('a cut file is refused as such', async () => {
  await using folder = await temporaryFolder();
  await makeSquashfs(folder.file('a'), world());
  await using handle = await open(folder.file('a'), 'r+');
  const { size } = await handle.stat();
  for (const length of [Math.floor(size / 2), 96, 95, 0]) {
    await handle.truncate(length);
    assert.is((await failure(openFile(folder.file('a')))).code, 'image.truncated');
  }
});

test.run();
