import { open, readFile, writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { copyRanges } from '#lib/image/copy-range.ts';
import { readAt } from '#lib/image/read-at.ts';
import { dataOf, spliceSquashfs } from '#lib/squashfs/splice/splice.ts';
import { failure } from '../../failure.ts';
import { assertSame, type Files, spec } from '../../squashfs/files.ts';
import { deltaFixture, fixture } from '../../squashfs/fixtures.ts';
import { limits, openFile, readFiles } from '../../squashfs/make.ts';
import { viewOf } from '../../squashfs/overlay.ts';
import { temporaryFolder } from '../image/temporary.ts';

/** Splices of the fixtures; test/system/squashfs-splice.test.ts has those of files of any kind. */

interface Result {
  readonly files: Files;
  readonly bytes: Buffer;
  readonly inodeCount: number;
  readonly exportTable: number | null;
}

async function splice(base: Buffer, delta: Buffer, bottom: boolean): Promise<Result> {
  await using folder = await temporaryFolder();
  await writeFile(folder.file('base'), base);
  await writeFile(folder.file('delta'), delta);
  await using opened = await openFile(folder.file('base'));
  await using change = await openFile(folder.file('delta'));
  await spliceSquashfs(opened.squashfs, change.squashfs, folder.file('result'), { bottom, signal: limits.signal });
  await using result = await openFile(folder.file('result'));
  const { inodeCount, exportTable } = result.squashfs.superblock;
  return {
    ...{ files: await readFiles(result.squashfs), bytes: await readFile(folder.file('result')) },
    ...{ inodeCount, exportTable },
  };
}

async function filesOf(bytes: Buffer): Promise<Files> {
  await using folder = await temporaryFolder();
  await writeFile(folder.file('a'), bytes);
  await using opened = await openFile(folder.file('a'));
  return await readFiles(opened.squashfs);
}

test('in the lowest layer a deletion takes the file and leaves no trace', async () => {
  const { files, inodeCount } = await splice(fixture('gzip'), deltaFixture(), true);
  assertSame(viewOf(files), viewOf(await filesOf(fixture('gzip')), await filesOf(deltaFixture())));
  assert.equal([...files.keys()], ['bin', 'etc', 'etc/new', 'etc/other', 'usr', 'usr/bin', 'usr/bin/three']);
  assert.is(inodeCount, files.size + 1);
  assert.equal(files.get('usr/bin')?.attributes, {});
});

test('in another layer a deletion stays and hides the files below', async () => {
  const { files } = await splice(fixture('gzip'), deltaFixture(), false);
  assert.equal(files.get('dev')?.device, [0, 0]);
  assert.is(files.get('usr/bin')?.attributes?.['trusted.overlay.opaque']?.toString(), 'y');
  const below: Files = new Map([
    ['dev', spec('directory')],
    ['dev/sda', spec('fifo')],
    ['usr', spec('directory')],
    ['usr/bin', spec('directory')],
    ['usr/bin/hidden', spec('fifo')],
  ]);
  const parts = [await filesOf(fixture('gzip')), await filesOf(deltaFixture())];
  assertSame(viewOf(below, files), viewOf(below, ...parts));
  assert.not.ok(viewOf(below, files).has('usr/bin/hidden'));
});

test('the data of the base stay as they are, at their places', async () => {
  const base = fixture('gzip');
  const { bytes } = await splice(base, deltaFixture(), true);
  const tables = Number(base.readBigUInt64LE(64));
  assert.ok(bytes.subarray(96, tables).equals(base.subarray(96, tables)));
});

test('a splice without the data of the base is the same file once they are copied into it', async () => {
  await using folder = await temporaryFolder();
  await writeFile(folder.file('base'), fixture('gzip'));
  await writeFile(folder.file('delta'), deltaFixture());
  await using base = await openFile(folder.file('base'));
  await using delta = await openFile(folder.file('delta'));
  const { signal } = limits;
  const options = { bottom: true, signal };
  const whole = await spliceSquashfs(base.squashfs, delta.squashfs, folder.file('whole'), options);
  const without = { ...options, withoutBaseData: true };
  const spliced = await spliceSquashfs(base.squashfs, delta.squashfs, folder.file('result'), without);
  assert.equal(spliced, whole);
  const data = dataOf(base.squashfs);
  await using result = await open(folder.file('result'), 'r+');
  const hole = await readAt(result, data.offsetBytes, data.sizeBytes);
  assert.ok(hole.equals(Buffer.alloc(data.sizeBytes)));
  await copyRanges([data], result, base.squashfs.dataStart, signal);
  assert.ok((await readFile(folder.file('result'))).equals(await readFile(folder.file('whole'))));
  await using opened = await openFile(folder.file('result'));
  assert.is(spliced.usedBytes, opened.squashfs.usedBytes);
});

test('the table for NFS leads to each inode by its number', async () => {
  const { bytes } = await splice(fixture('gzip'), deltaFixture(), true);
  await using folder = await temporaryFolder();
  await writeFile(folder.file('a'), bytes);
  await using opened = await openFile(folder.file('a'));
  const { exportTable, inodeCount } = opened.squashfs.superblock;
  const block = Number(bytes.readBigUInt64LE(exportTable ?? 0));
  const inodes = [opened.squashfs.root, ...[...opened.squashfs.entries()].map(({ inode }) => inode)];
  assert.is(inodes.length, inodeCount);
  for (const { number, position } of inodes) {
    // All inodes are in one block.
    assert.is(Number(bytes.readBigUInt64LE(block + 2 + 8 * (number - 1))), position);
  }
});

test('the delta must have the compressor of the base', async () => {
  for (const name of ['xz', 'zstd', 'lz4'] as const) {
    const error = await failure(splice(fixture(name), deltaFixture(), true));
    assert.is(error.code, 'image.unsupported');
    assert.match(error.message, `compressor is ${name}, that of the delta gzip`);
  }
});

test('a splice of a splice gives the same bytes as often as it is made', async () => {
  const once = await splice(fixture('gzip'), deltaFixture(), true);
  const twice = await splice(once.bytes, fixture('gzip'), true);
  assertSame(viewOf(twice.files), viewOf(once.files, await filesOf(fixture('gzip'))));
  assert.ok((await splice(once.bytes, fixture('gzip'), true)).bytes.equals(twice.bytes));
  assert.ok(twice.exportTable !== null);
});

test('an existing file is not overwritten, and an aborted splice throws the reason', async () => {
  await using folder = await temporaryFolder();
  await writeFile(folder.file('base'), fixture('gzip'));
  await using opened = await openFile(folder.file('base'));
  const { squashfs } = opened;
  const again = spliceSquashfs(squashfs, squashfs, folder.file('base'), { bottom: true, signal: limits.signal });
  assert.is((await again.catch((error: NodeJS.ErrnoException) => error.code)) as unknown, 'EEXIST');
  const signal = AbortSignal.abort(new Error('cancelled'));
  const aborted = spliceSquashfs(squashfs, squashfs, folder.file('result'), { bottom: true, signal });
  assert.match(String(await aborted.catch((error: unknown) => error)), 'cancelled');
});

test('a damaged base or delta that passes the inspection gives a result that passes it too', async () => {
  const flips = fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { minLength: 1, maxLength: 3 });
  const spoil = (bytes: Buffer, changes: readonly (readonly [number, number])[]) => {
    for (const [at, value] of changes) bytes[at % bytes.length] = value;
    return bytes;
  };
  let results = 0;
  await fc.assert(
    fc.asyncProperty(flips, fc.boolean(), fc.boolean(), async (changes, ofBase, bottom) => {
      const base = ofBase ? spoil(fixture('gzip'), changes) : fixture('gzip');
      const delta = ofBase ? deltaFixture() : spoil(deltaFixture(), changes);
      try {
        await splice(base, delta, bottom);
        results += 1;
      } catch (error) {
        assert.instance(error, ImageBuilderError, error instanceof Error ? error.stack : String(error));
      }
    }),
    { numRuns: 200 },
  );
  assert.ok(results > 0);
});

test.run();
