import { readFile, writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import type { Thinned } from '#lib/squashfs/thin/thin.ts';
import { failure } from '../../failure.ts';
import { assertSame, type FileSpec, type Files, spec } from '../../squashfs/files.ts';
import { deltaFixture, fixture } from '../../squashfs/fixtures.ts';
import { openFile } from '../../squashfs/make.ts';
import { readTar, thinFile } from '../../squashfs/read-tar.ts';
import { writeTar } from '../../squashfs/write-tar.ts';
import { temporaryFolder } from '../image/temporary.ts';

/** The archive of an upper directory, thinned to those entries that the layers below do not show. */

interface Result extends Thinned {
  readonly files: Files;
  readonly bytes: Buffer;
}

async function thin(archive: Buffer, layers: readonly Buffer[]): Promise<Result> {
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await temporaryFolder());
  const views = [];
  for (const [index, layer] of layers.entries()) {
    await writeFile(folder.file(`${index}`), layer);
    views.push(opened.use(await openFile(folder.file(`${index}`))).squashfs);
  }
  await writeFile(folder.file('archive'), archive);
  const thinned = await thinFile(folder.file('archive'), views, folder.file('result'));
  return { ...thinned, files: await readTar(folder.file('result')), bytes: await readFile(folder.file('result')) };
}

const attribute = { 'user.a': Buffer.from('b'.repeat(300)) };
const release = spec('file', { content: Buffer.from('ID=debian\n'), attributes: attribute });
const two = (given: Partial<FileSpec> = {}) =>
  spec('file', { content: Buffer.from('two\n'.repeat(5000)), inode: 'x', ...given });
const opaque = { 'trusted.overlay.opaque': Buffer.from('y') };
const whiteout = spec('character', { mode: 0, device: [0, 0] });

/** The entries of the fixtures, at another time, and with the bookkeeping of overlayfs. */
function unchanged(): Map<string, FileSpec> {
  const files: [string, FileSpec][] = [
    ['bin', spec('symlink', { target: 'usr/bin' })],
    ['dev', spec('directory', { attributes: { 'trusted.overlay.impure': Buffer.from('y') } })],
    ['dev/null', spec('character', { mode: 0o666, device: [1, 3] })],
    ['dev/pipe', spec('fifo')],
    ['etc', spec('directory')],
    ['etc/os-release', { ...release, attributes: { ...attribute, 'trusted.overlay.origin': Buffer.from('x') } }],
    ['usr', spec('directory')],
    ['usr/bin', spec('directory', { uid: 12_345 })],
    ['usr/bin/one', two()],
    ['usr/bin/two', two()],
  ];
  return new Map(files.map(([path, file]) => [path, { ...file, modifiedSeconds: 1_800_000_000 }]));
}

for (const name of ['gzip', 'xz', 'zstd', 'lz4', 'stored'] as const) {
  test(`${name}: what the layers show already goes, whenever it was written`, async () => {
    const { files, entries, kept, bytes } = await thin(writeTar(unchanged()), [fixture(name)]);
    assert.equal([...files.keys()], []);
    assert.equal([entries, kept], [10, 0]);
    assert.ok(bytes.equals(Buffer.alloc(1024)));
  });
}

const changes: Record<string, FileSpec> = {
  'etc/os-release': spec('file', { content: Buffer.from('ID=Debian\n'), attributes: attribute }),
  'etc/added': spec('file', { content: Buffer.alloc(0) }),
  'dev/null': spec('character', { mode: 0o666, device: [1, 5] }),
  'dev/pipe': spec('fifo', { mode: 0o600 }),
  'usr/bin/three': spec('symlink', { target: `../${'long/'.repeat(30)}ü` }),
};

for (const [path, file] of Object.entries(changes)) {
  test(`${path}: a change stays, with the directories above it and nothing else`, async () => {
    const { files } = await thin(writeTar(unchanged().set(path, file)), [fixture('gzip')]);
    const parts = path.split('/');
    const above = parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'));
    assert.equal([...files.keys()], [...above, path]);
    assertSame(
      new Map([[path, files.get(path) ?? assert.unreachable()]] as [string, FileSpec][]),
      new Map([[path, file]]),
    );
  });
}

test('an owner, an attribute that is gone or new, and a mode count as changes', async () => {
  for (const change of [
    { ...release, uid: 1 },
    { ...release, attributes: {} },
    { ...release, attributes: { ...attribute, 'user.b': Buffer.from('c') } },
    { ...release, mode: 0o600 },
  ]) {
    const { files } = await thin(writeTar(unchanged().set('etc/os-release', change)), [fixture('gzip')]);
    assert.equal([...files.keys()], ['etc', 'etc/os-release']);
    assertSame(new Map([...files].slice(1)), new Map([['etc/os-release', change]]));
  }
});

test('a file of several names is kept with all of them, or not at all', async () => {
  const changed = two({ uid: 3 });
  const both = await thin(
    writeTar(unchanged().set('usr/bin/one', changed).set('usr/bin/two', changed).set('usr/bin/zzz', changed)),
    [fixture('gzip')],
  );
  assert.equal([...both.files.keys()], ['usr', 'usr/bin', 'usr/bin/one', 'usr/bin/two', 'usr/bin/zzz']);
  const added = await thin(writeTar(unchanged().set('usr/bin/zzz', two())), [fixture('gzip')]);
  assert.equal([...added.files.keys()], ['usr', 'usr/bin', 'usr/bin/one', 'usr/bin/two', 'usr/bin/zzz']);
});

test('a deletion stays where it deletes something, and an opaque directory with all its content', async () => {
  const { files } = await thin(
    writeTar(
      new Map([
        ['etc', spec('directory', { attributes: { ...opaque, 'trusted.overlay.uuid': Buffer.from('x') } })],
        ['etc/os-release', release],
        ['dev', whiteout],
        ['nowhere', whiteout],
      ]),
    ),
    [fixture('gzip')],
  );
  assert.equal([...files.keys()], ['dev', 'etc', 'etc/os-release']);
  assert.equal(files.get('etc')?.attributes, opaque);
});

test('an opaque directory loses its mark where it hides nothing, and is compared like any other', async () => {
  const marked = (change: (files: Map<string, FileSpec>) => void) => {
    const files = unchanged().set('usr/bin', spec('directory', { uid: 12_345, attributes: opaque }));
    change(files);
    return writeTar(files);
  };
  const same = await thin(
    marked(() => undefined),
    [fixture('gzip')],
  );
  assert.equal([...same.files.keys()], []);
  const more = await thin(
    marked((files) => files.set('usr/bin/three', release)),
    [fixture('gzip')],
  );
  assert.equal([...more.files.keys()], ['usr', 'usr/bin', 'usr/bin/three']);
  assert.equal(more.files.get('usr/bin')?.attributes, {});
  const less = await thin(
    marked((files) => files.delete('usr/bin/two')),
    [fixture('gzip')],
  );
  assert.equal([...less.files.keys()], ['usr', 'usr/bin', 'usr/bin/one']);
  assert.equal(less.files.get('usr/bin')?.attributes, opaque);
});

test('the view is that of all layers', async () => {
  const layers = [fixture('gzip'), deltaFixture()];
  const archive = writeTar(
    new Map([
      ['etc', spec('directory', { mode: 0o700 })],
      ['etc/new', spec('file', { content: Buffer.from('new\n'.repeat(2000)), gid: 7, attributes: attribute })],
      // Deleted by the upper layer, so that it is new again.
      ['etc/os-release', release],
      ['usr', spec('directory')],
      ['usr/bin', spec('directory')],
      // Hidden by an opaque directory.
      ['usr/bin/one', two()],
      ['usr/bin/three', spec('symlink', { target: 'two' })],
    ]),
  );
  const { files } = await thin(archive, layers);
  assert.equal([...files.keys()], ['etc', 'etc/os-release', 'usr', 'usr/bin', 'usr/bin/one']);
});

test('archives that lead out of them, or are damaged, are refused', async () => {
  const refused = async (archive: Buffer) => {
    const error = await failure(thin(archive, [fixture('gzip')]));
    return `${error.code}: ${error.message}`;
  };
  const one = (path: string, file = spec('fifo')) => writeTar(new Map([[path, file]]));
  assert.match(await refused(one('/etc')), /^image\.unsafe: .*"\/etc" is absolute/);
  assert.match(await refused(one('a/../b')), /^image\.unsafe: .*"a\/\.\.\/b" leads out/);
  assert.match(await refused(one('a/'.repeat(3000))), /^image\.corrupt: .*6000 bytes/);
  const archive = one('a', spec('file', { content: Buffer.alloc(600, 1) }));
  assert.match(await refused(archive.subarray(0, 2048)), /^image\.truncated: .*"a" has 600 bytes/);
  assert.match(await refused(archive.subarray(0, 100)), /^image\.truncated: .*no blocks of zeros/);
  assert.match(await refused(Buffer.concat([archive.subarray(0, 2560), archive])), /^image\.corrupt: .*twice/);
  const wrong = Buffer.from(archive);
  wrong[1024] = 0x20;
  assert.match(await refused(wrong), /^image\.corrupt: .*checksum is wrong/);
});

test('changed bytes of an archive end in an error of ours or in a result', async () => {
  const archive = writeTar(unchanged().set('etc/added', spec('file', { content: Buffer.from('x') })));
  const flips = fc.array(fc.tuple(fc.nat(archive.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(flips, async (changes) => {
      const copy = Buffer.from(archive);
      for (const [at, byte] of changes) copy[at] = byte;
      try {
        await thin(copy, [fixture('gzip')]);
      } catch (error) {
        assert.instance(error, ImageBuilderError, error instanceof Error ? error.stack : String(error));
      }
    }),
    { numRuns: 200 },
  );
});

test.run();
