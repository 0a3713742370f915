import { chmod, chown, mkdir, readdir, rename, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { compactLayer } from '#lib/kinds/cd/compact-layer.ts';
import { attributesOf } from '#lib/squashfs/entry.ts';
import { spliceSquashfs } from '#lib/squashfs/splice/splice.ts';
import { failure } from '../failure.ts';
import { assertSame, type FileSpec, type Files, spec } from '../squashfs/files.ts';
import { limits, makeSquashfs, openFile, readFiles } from '../squashfs/make.ts';
import { randomFiles } from '../squashfs/random-files.ts';
import { noise, world } from '../squashfs/world.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';

/** Layers that are packed anew: the same files, in fewer bytes. */

type Folder = Awaited<ReturnType<typeof temporaryFolder>>;

async function compact(folder: Folder, more: Partial<Parameters<typeof compactLayer>[0]> = {}): Promise<string> {
  const said = await compactLayer({ path: folder.file('layer'), limits, onProgress: () => {}, ...more });
  assert.not((await readdir(folder.path)).includes('layer.compact'), 'left behind');
  return said;
}

const filesOf = async (folder: Folder): Promise<Files> => {
  await using opened = await openFile(folder.file('layer'));
  return await readFiles(opened.squashfs);
};

const sizeOf = async (folder: Folder) => (await stat(folder.file('layer'))).size;

/** Lays a delta over the layer. */
async function change(folder: Folder, delta: Files, options: readonly string[]): Promise<void> {
  await rm(folder.file('delta'), { force: true });
  await makeSquashfs(folder.file('delta'), delta, ...options);
  await exec('mv', [folder.file('layer'), folder.file('base')]);
  await using base = await openFile(folder.file('base'));
  await using over = await openFile(folder.file('delta'));
  const { signal } = limits;
  await spliceSquashfs(base.squashfs, over.squashfs, folder.file('layer'), { bottom: true, signal });
  for (const name of ['delta', 'base']) await rm(folder.file(name));
}

const whiteout = spec('character', { mode: 0, device: [0, 0], inode: 'whiteout' });
const round = (seed: string): Files =>
  new Map<string, FileSpec>([
    ['opt', spec('directory')],
    ['opt/replaced', spec('file', { content: noise(seed, 500_000) })],
    ['opt/copy', spec('file', { content: noise(seed, 500_000), uid: 7 })],
    ['etc', spec('directory')],
    ['etc/shadow', whiteout],
  ]);

/** Lays the layer over one of nothing but a root, which is not as mksquashfs makes it. */
async function giveRoot(folder: Folder, options: readonly string[]): Promise<void> {
  const [tree, root] = [folder.file('tree'), folder.file('root')];
  await mkdir(tree);
  await exec('setfattr', ['-n', 'user.root', '-v', 'yes', tree]);
  await chown(tree, 12, 4_000_000_000);
  await chmod(tree, 0o1750);
  await utimes(tree, 1_600_000_000, 1_600_000_000);
  await exec('mksquashfs', [tree, root, '-quiet', '-no-progress', ...options]);
  await rename(folder.file('layer'), folder.file('delta'));
  await using base = await openFile(root);
  await using over = await openFile(folder.file('delta'));
  const { signal } = limits;
  await spliceSquashfs(base.squashfs, over.squashfs, folder.file('layer'), { bottom: false, signal });
  for (const name of ['delta', 'root', 'tree']) await rm(folder.file(name), { recursive: true });
}

const variants: Record<string, readonly string[]> = {
  gzip: ['-comp', 'gzip', '-Xcompression-level', '6'],
  'xz with a filter and small blocks': ['-comp', 'xz', '-Xbcj', 'x86', '-Xdict-size', '50%', '-b', '65536'],
  zstd: ['-comp', 'zstd', '-Xcompression-level', '3'],
  lz4: ['-comp', 'lz4', '-Xhc'],
  'no fragments, no table for NFS': ['-comp', 'gzip', '-no-fragments', '-no-exports'],
  'stored data': ['-comp', 'gzip', '-noD', '-noF'],
  'tails in fragments': ['-comp', 'zstd', '-always-use-fragments'],
};

for (const [name, options] of Object.entries(variants)) {
  test(`${name}: nothing is lost of a layer that was spliced three times, and it is as small as one that was packed once`, async () => {
    await using folder = await temporaryFolder();
    await makeSquashfs(folder.file('layer'), world(), ...options);
    await giveRoot(folder, options);
    const sizes: number[] = [];
    for (const seed of ['a', 'b', 'c']) {
      await change(folder, round(seed), options);
      const [spliced, before] = [await filesOf(folder), await sizeOf(folder)];
      const reported: number[] = [];
      assert.match(
        await compact(folder, { onProgress: (part) => reported.push(part) }),
        /^the layer was made compact: /,
      );
      assertSame(await filesOf(folder), spliced);
      assert.ok((await sizeOf(folder)) < before);
      sizes.push(await sizeOf(folder));
      assert.equal(
        reported,
        [...reported].sort((one, other) => one - other),
      );
      assert.ok(reported.length > 10 && Math.abs((reported.at(-1) ?? 0) - 1) < 1e-9, String(reported.at(-1)));
    }
    const [first = 0, , third = 0] = sizes;
    assert.ok(Math.abs(third - first) <= 4096, `sizes ${sizes.join()}`);
    await using opened = await openFile(folder.file('layer'));
    const { root: made, superblock, options: kept } = opened.squashfs;
    assert.equal([made.mode, made.uid, made.gid, made.modifiedSeconds], [0o1750, 12, 4_000_000_000, 1_600_000_000]);
    assert.equal(attributesOf(opened.squashfs, made), [{ name: 'user.root', value: Buffer.from('yes') }]);
    assert.is(superblock.exportTable !== null, !options.includes('-no-exports'));
    await rm(folder.file('packed'), { force: true });
    await makeSquashfs(folder.file('packed'), new Map(), ...options);
    await using packed = await openFile(folder.file('packed'));
    assert.equal(kept, packed.squashfs.options);
    assert.is(superblock.blockSizeBytes, packed.squashfs.superblock.blockSizeBytes);
  });
}

test('a layer that lies above others keeps its whiteouts and the marks of overlayfs, whatever they are', async () => {
  await using folder = await temporaryFolder();
  const marks = Object.fromEntries(
    ['opaque', 'origin', 'redirect'].map((name) => [`trusted.overlay.${name}`, Buffer.from('y')]),
  );
  const files: Files = new Map<string, FileSpec>([
    ['gone', whiteout],
    ['gone.too', whiteout],
    ['covered', spec('directory', { attributes: { ...marks, 'user.overlay.opaque': Buffer.from('x') } })],
    ['covered/file', spec('file', { content: noise('x', 200_000) })],
    ['copy', spec('file', { content: noise('x', 200_000) })],
  ]);
  await makeSquashfs(folder.file('layer'), files, '-no-duplicates', '-comp', 'xz');
  assert.match(await compact(folder), /made compact: /);
  assertSame(await filesOf(folder), files);
});

test('any files stay as they are', async () => {
  await using folder = await temporaryFolder();
  await fc.assert(
    fc.asyncProperty(randomFiles, async (files) => {
      await rm(folder.file('layer'), { force: true });
      await makeSquashfs(folder.file('layer'), files, '-comp', 'gzip', '-b', '4096', '-noI', '-noX');
      const before = await filesOf(folder);
      assert.match(await compact(folder), /made compact: |it would take /);
      assertSame(await filesOf(folder), before);
    }),
    { numRuns: 15 },
  );
});

test('a layer stays as it is, with the reason, where an archive cannot hold all of it', async () => {
  await using folder = await temporaryFolder();
  await mkdir(folder.file('tree'));
  await writeFile(folder.file('tree/file'), 'x');
  const make = async (...more: string[]) => {
    await rm(folder.file('layer'), { force: true });
    await exec('mksquashfs', [folder.file('tree'), folder.file('layer'), '-quiet', '-no-progress', ...more]);
  };
  await make('-p', 'socket I 1700000000 755 0 0 s');
  assert.is(await compact(folder), 'the layer was not made compact: /socket is a socket');
  assert.is((await filesOf(folder)).get('socket')?.type, 'socket');
  await exec('setfattr', ['-n', 'user.a=b', '-v', 'c', folder.file('tree/file')]);
  await make();
  assert.match(await compact(folder), /^the layer was not made compact: packed anew, \/file has other attributes$/);
  assert.equal((await filesOf(folder)).get('file')?.attributes, { 'user.a=b': Buffer.from('c') });
});

test('a damaged block ends it with an error, and so does a cancelled build; the layer stays, and nothing beside it', async () => {
  await using folder = await temporaryFolder();
  await makeSquashfs(folder.file('layer'), world(), '-comp', 'gzip');
  const { size } = await stat(folder.file('layer'));
  const reason = new Error('cancelled');
  for (const at of [0, 0.3, 0.95]) {
    const controller = new AbortController();
    const stopped = compact(folder, {
      limits: { ...limits, signal: controller.signal },
      onProgress: (part) => part >= at && controller.abort(reason),
    });
    assert.is(await stopped.catch((error: unknown) => error), reason);
    assert.is((await stat(folder.file('layer'))).size, size);
    assert.not((await readdir(folder.path)).includes('layer.compact'));
  }
  await using opened = await openFile(folder.file('layer'));
  const file = opened.squashfs.find('usr/text');
  assert.is(file?.type, 'file');
  if (file?.type !== 'file') return;
  await exec('dd', [
    ...['if=/dev/zero', `of=${folder.file('layer')}`, 'bs=1', `seek=${file.start}`, 'count=20', 'conv=notrunc'],
  ]);
  const error = await failure(compact(folder));
  assert.is(error.code, 'image.corrupt');
  assert.match(error.message, /a block cannot be unpacked by gzip/);
  await truncate(folder.file('layer'), 50_000);
  assert.is((await failure(compact(folder))).code, 'image.truncated');
});

test.run();
