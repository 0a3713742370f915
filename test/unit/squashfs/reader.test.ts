import { writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import type { DirectoryInode, FileInode, SymlinkInode } from '#lib/squashfs/inode.ts';
import type { Squashfs } from '#lib/squashfs/open.ts';
import { failure } from '../../failure.ts';
import { assertSame, spec } from '../../squashfs/files.ts';
import { type Fixture, fixture, fixtures } from '../../squashfs/fixtures.ts';
import { openFile, readFiles } from '../../squashfs/make.ts';
import { temporaryFolder } from '../image/temporary.ts';

/** The inspection of SquashFS: what it reads, and the errors by which it refuses the rest. */

type Limits = Parameters<typeof openFile>[1];

async function withSquashfs<Result>(bytes: Buffer, use: (path: string) => Promise<Result>): Promise<Result> {
  await using folder = await temporaryFolder();
  await writeFile(folder.file('a'), bytes);
  return await use(folder.file('a'));
}

async function verdict(bytes: Buffer, limits: Limits = {}): Promise<string> {
  return await withSquashfs(bytes, async (path) => {
    const error = await failure(openFile(path, limits).then((opened) => opened[Symbol.asyncDispose]()));
    return `${error.code}: ${error.message}`;
  });
}

for (const name of fixtures) {
  test(`${name}: every entry is read`, async () => {
    const attribute = Buffer.from('b'.repeat(300));
    const two = spec('file', { content: Buffer.from('two\n'.repeat(5000)), inode: 'x' });
    const files = new Map([
      ['bin', spec('symlink', { target: 'usr/bin' })],
      ['dev', spec('directory')],
      ['dev/null', spec('character', { mode: 0o666, device: [1, 3] })],
      ['dev/pipe', spec('fifo')],
      ['etc', spec('directory', { attributes: { 'trusted.overlay.opaque': Buffer.from('y') } })],
      ['etc/os-release', spec('file', { content: Buffer.from('ID=debian\n'), attributes: { 'user.a': attribute } })],
      [
        'etc/other',
        spec('file', { content: Buffer.from('x'), attributes: { 'user.a': attribute, 'user.c': Buffer.from('d') } }),
      ],
      ['usr', spec('directory')],
      ['usr/bin', spec('directory', { uid: 12_345 })],
      ['usr/bin/one', two],
      ['usr/bin/two', two],
    ]);
    await withSquashfs(fixture(name), async (path) => {
      await using opened = await openFile(path);
      assertSame(await readFiles(opened.squashfs), files);
      assert.is(opened.squashfs.nameCount, files.size);
      assert.is(opened.squashfs.contentBytes, 20_011);
    });
  });
}

/** Changes `stored`, whose tables of inodes and directories are one uncompressed block each. */
async function changed(change: (bytes: Buffer, places: Places) => void): Promise<Buffer> {
  const bytes = fixture('stored');
  await withSquashfs(bytes, async (path) => {
    await using opened = await openFile(path);
    change(bytes, placesOf(opened.squashfs));
  });
  return bytes;
}

interface Places {
  /** Place of an inode in the file. */
  inode(path: string): number;
  /** Place of the first header of a listing in the file. */
  listing(path: string): number;
  readonly squashfs: Squashfs;
}

function placesOf(squashfs: Squashfs): Places {
  const { inodeTable, directoryTable } = squashfs.superblock;
  const find = (path: string) => squashfs.find(path) ?? assert.unreachable(path);
  return {
    squashfs,
    inode: (path) => inodeTable + 2 + (find(path) as FileInode | SymlinkInode).position,
    listing: (path) => directoryTable + 2 + (find(path) as DirectoryInode).listing.offset,
  };
}

/** Place of the first name behind the header of a listing, and of its parts. */
const nameOf = (listing: number) => listing + 12 + 8;

const refusals: Record<string, { change: (bytes: Buffer, places: Places) => unknown; expected: RegExp }> = {
  'another magic number': {
    change: (bytes) => bytes.write('hsqt'),
    expected: /^image\.unsupported: .*begin with "hsqs"/,
  },
  'big-endian numbers': { change: (bytes) => bytes.write('sqsh'), expected: /^image\.unsupported: .*big-endian/ },
  'another version': {
    change: (bytes) => bytes.writeUInt16LE(3, 28),
    expected: /^image\.unsupported: .*version is 3\.0/,
  },
  'a block size that is no power of two': {
    change: (bytes) => bytes.writeUInt32LE(4097, 12),
    expected: /^image\.corrupt: .*block size/,
  },
  'a block size of 2 MiB': {
    change(bytes) {
      bytes.writeUInt32LE(2 ** 21, 12);
      bytes.writeUInt16LE(21, 22);
    },
    expected: /^image\.corrupt: .*block size/,
  },
  'an unknown compressor': {
    change: (bytes) => bytes.writeUInt16LE(7, 20),
    expected: /^image\.unsupported: .*compressor 7 is unknown/,
  },
  lzma: { change: (bytes) => bytes.writeUInt16LE(2, 20), expected: /^image\.unsupported: .*compressor lzma/ },
  lzo: { change: (bytes) => bytes.writeUInt16LE(3, 20), expected: /^image\.unsupported: .*compressor lzo/ },
  'options that are not there': {
    change: (bytes) => bytes.writeUInt16LE(bytes.readUInt16LE(24) | 0x400, 24),
    expected: /^image\.corrupt: .*options of its compressor/,
  },
  'more bytes than the file has': {
    change: (bytes) => bytes.writeBigUInt64LE(BigInt(bytes.length + 1), 40),
    expected: /^image\.truncated: .*claims/,
  },
  'bytes beyond every file': {
    change: (bytes) => bytes.writeBigUInt64LE(1n << 63n, 40),
    expected: /^image\.truncated: .*claims/,
  },
  'no inodes': { change: (bytes) => bytes.writeUInt32LE(0, 4), expected: /^image\.corrupt: .*no inodes/ },
  'inodes for which there is no room': {
    change: (bytes) => bytes.writeUInt32LE(100, 4),
    expected: /^image\.corrupt: .*claims 100 inodes/,
  },
  'no ids': { change: (bytes) => bytes.writeUInt16LE(0, 26), expected: /^image\.corrupt: .*no ids/ },
  'ids for which there is no room': {
    change: (bytes) => bytes.writeUInt16LE(60_000, 26),
    expected: /^image\.corrupt: .*table of ids does not end/,
  },
  'fragments for which there is no room': {
    change: (bytes) => bytes.writeUInt32LE(0xffffffff, 16),
    expected: /^image\.corrupt: .*table of fragments does not end/,
  },
  'an export table elsewhere': {
    change: (bytes, { squashfs }) => bytes.writeBigUInt64LE(BigInt(squashfs.superblock.idTable), 88),
    expected: /^image\.corrupt: .*table of export does not end/,
  },
  'a table of inodes behind its end': {
    change: (bytes) => bytes.writeBigUInt64LE(BigInt(bytes.length), 64),
    expected: /^image\.corrupt: .*table of inodes is outside/,
  },
  'a table of inodes in the superblock': {
    change: (bytes) => bytes.writeBigUInt64LE(64n, 64),
    expected: /^image\.corrupt: .*table of inodes is outside/,
  },
  'directories before inodes': {
    change: (bytes) => bytes.writeBigUInt64LE(96n, 72),
    expected: /^image\.corrupt: .*table of directories is not between/,
  },
  'attributes outside of it': {
    change: (bytes) => bytes.writeBigUInt64LE(BigInt(bytes.length - 8), 56),
    expected: /^image\.corrupt: .*table of attributes is outside/,
  },
  'an empty table of attributes': {
    change: (bytes, { squashfs }) => bytes.writeUInt32LE(0, (squashfs.superblock.attributeTable ?? 0) + 8),
    expected: /^image\.corrupt: .*table of attributes is empty/,
  },
  'a place that no block of ids has': {
    change(bytes, { squashfs }) {
      const { idTable } = squashfs.superblock;
      bytes.writeBigUInt64LE(bytes.readBigUInt64LE(idTable) + 1n, idTable);
    },
    expected: /^image\.corrupt: /,
  },
  'a block of metadata larger than 8 KiB': {
    change: (bytes, { squashfs }) => bytes.writeUInt16LE(0xffff, squashfs.superblock.inodeTable),
    expected: /^image\.corrupt: a?.*block of metadata at byte/,
  },
  'a root in the middle of nothing': {
    change: (bytes) => bytes.writeUInt16LE(8000, 32),
    expected: /^image\.corrupt: .*reference to byte 0, 8000/,
  },
  'a root that is a file': {
    change: (bytes, { inode, squashfs }) =>
      bytes.writeUInt16LE(inode('etc/os-release') - squashfs.superblock.inodeTable - 2, 32),
    expected: /^image\.corrupt: .*root is a file/,
  },
  'an inode of type 15': {
    change: (bytes, { inode }) => bytes.writeUInt16LE(15, inode('bin')),
    expected: /^image\.corrupt: .*type 15/,
  },
  'inode number 0': {
    change: (bytes, { inode }) => bytes.writeUInt32LE(0, inode('bin') + 12),
    expected: /^image\.corrupt: .*has number 0/,
  },
  'an inode number that another has': {
    change(bytes, { inode, listing }) {
      const number = bytes.readUInt32LE(inode('dev/null') + 12);
      bytes.writeUInt32LE(number, inode('dev/pipe') + 12);
      // The second name of this directory, behind `null`.
      const second = listing('dev') + 12 + 8 + 4;
      bytes.writeInt16LE(bytes.readInt16LE(listing('dev') + 12 + 2), second + 2);
    },
    expected: /^image\.corrupt: .*two inodes have the number/,
  },
  'an owner that does not exist': {
    change: (bytes, { inode }) => bytes.writeUInt16LE(7, inode('bin') + 4),
    expected: /^image\.corrupt: .*owner is number 7/,
  },
  'an inode that its name does not fit': {
    change: (bytes, { listing }) => bytes.writeUInt16LE(4, listing('dev') + 12 + 4),
    expected: /^image\.corrupt: .*do not agree/,
  },
  'the name .': {
    change: (bytes, { listing }) => {
      bytes.writeUInt16LE(0, listing('dev') + 12 + 6);
      bytes.write('.', nameOf(listing('dev')));
    },
    expected: /^image\.unsafe: .*has the name "\."/,
  },
  'the name ..': {
    change: (bytes, { listing }) => {
      bytes.writeUInt16LE(1, listing('dev') + 12 + 6);
      bytes.write('..', nameOf(listing('dev')));
    },
    expected: /^image\.unsafe: .*has the name "\.\."/,
  },
  'a name with a slash': {
    change: (bytes, { listing }) => bytes.write('a/bc', nameOf(listing('dev'))),
    expected: /^image\.unsafe: .*has the name "a\/bc"/,
  },
  'a name with a zero byte': {
    change: (bytes, { listing }) => bytes.write('a\0bc', nameOf(listing('dev'))),
    expected: /^image\.unsafe: .*has the name "a\\u0000bc"/,
  },
  'one name twice': {
    change: (bytes, { listing }) => bytes.write('pipe', nameOf(listing('dev'))),
    expected: /^image\.unsafe: .*has the name "pipe" twice/,
  },
  'names out of order': {
    change: (bytes, { listing }) => bytes.write('zzzz', nameOf(listing('dev'))),
    expected: /^image\.corrupt: .*not in order/,
  },
  'a name behind the end of its listing': {
    change: (bytes, { listing }) => bytes.writeUInt16LE(200, listing('dev') + 12 + 6),
    expected: /^image\.corrupt: .*cut off or too long/,
  },
  'more names behind one header than there may be': {
    change: (bytes, { listing }) => bytes.writeUInt32LE(256, listing('dev')),
    expected: /^image\.corrupt: .*lists 257 names/,
  },
  'a directory that contains itself': {
    change(bytes, { listing, squashfs }) {
      // `bin` of the root of `usr` becomes the root itself.
      const at = listing('usr');
      bytes.writeUInt32LE(squashfs.root.number, at + 8);
      bytes.writeInt16LE(0, at + 12 + 2);
      bytes.writeUInt16LE(squashfs.superblock.root.offset, at + 12);
    },
    expected: /^image\.unsafe: .*several names, or contains itself/,
  },
  'a symbolic link of no length': {
    change: (bytes, { inode }) => bytes.writeUInt32LE(0, inode('bin') + 20),
    expected: /^image\.corrupt: .*target of 0 bytes/,
  },
  'a symbolic link of 64 KiB': {
    change: (bytes, { inode }) => bytes.writeUInt32LE(65_536, inode('bin') + 20),
    expected: /^image\.corrupt: .*target of 65536 bytes/,
  },
  'a symbolic link with a zero byte': {
    change: (bytes, { inode }) => bytes.writeUInt8(0, inode('bin') + 25),
    expected: /^image\.corrupt: .*zero byte/,
  },
  'a file whose list of blocks is cut off': {
    change: (bytes, { inode }) => bytes.writeBigUInt64LE(2n ** 32n, inode('usr/bin/one') + 24),
    expected: /^image\.corrupt: .*list of blocks of inode/,
  },
  'a file of more bytes than there are': {
    change: (bytes, { inode }) => bytes.writeBigUInt64LE(2n ** 63n, inode('usr/bin/one') + 24),
    expected: /^image\.corrupt: .*list of blocks of inode/,
  },
  'a block of data larger than a block': {
    change: (bytes, { inode }) => bytes.writeUInt32LE(4097, inode('usr/bin/one') + 56),
    expected: /^image\.corrupt: .*a block of file \d+ has the size 4097/,
  },
  'a block of data with unknown bits': {
    change: (bytes, { inode }) => bytes.writeUInt32LE(2 ** 25 + 1, inode('usr/bin/one') + 56),
    expected: /^image\.corrupt: .*has the size 33554433/,
  },
  'a block of data among the tables': {
    change: (bytes, { inode, squashfs }) =>
      bytes.writeBigUInt64LE(BigInt(squashfs.superblock.inodeTable), inode('usr/bin/one') + 16),
    expected: /^image\.corrupt: .*outside of the data/,
  },
  'a fragment that does not exist': {
    change: (bytes, { inode }) => bytes.writeUInt32LE(9, inode('usr/bin/one') + 44),
    expected: /^image\.corrupt: .*fragment that does not exist/,
  },
  'an end behind the end of its fragment': {
    change: (bytes, { inode }) => bytes.writeUInt32LE(4096, inode('usr/bin/one') + 48),
    expected: /^image\.corrupt: .*outside of its fragment/,
  },
  'attributes that do not exist': {
    change: (bytes, { inode }) => bytes.writeUInt32LE(77, inode('etc/os-release') + 52),
    expected: /^image\.corrupt: .*attributes that do not exist/,
  },
};

for (const [name, { change, expected }] of Object.entries(refusals)) {
  test(`refused: ${name}`, async () => {
    assert.match(await verdict(await changed(change)), expected);
  });
}

test('refused: an attribute of an unknown kind, without a name, or whose value is not there', async () => {
  // The attribute `user.a`, whose value lies elsewhere: its type, the length of its name, its name.
  const head = fixture('stored').indexOf(Buffer.from('0001010061', 'hex'));
  assert.ok(head > 0);
  const write = (value: number, at: number) => {
    const copy = fixture('stored');
    copy.writeUInt16LE(value, head + at);
    return verdict(copy);
  };
  assert.match(await write(3, 0), /^image\.unsupported: .*unknown type 3/);
  assert.match(await write(0x201, 0), /^image\.unsupported: .*unknown type 513/);
  assert.match(await write(0, 2), /^image\.corrupt: .*has 0 bytes/);
  assert.match(await write(256, 2), /^image\.corrupt: .*has 256 bytes/);
  assert.match(await write(9, 5), /^image\.corrupt: .*place of the value/);
  assert.match(await write(8000, 9), /^image\.corrupt: .*leads to nothing/);
});

test('refused: more inodes, bytes of files or of tables than the limits', async () => {
  assert.match(await verdict(fixture('gzip'), { maximumInodes: 5 }), /^image\.too_large: .*inodes/);
  assert.match(await verdict(fixture('gzip'), { maximumContentBytes: 20_010 }), /^image\.too_large: .*claim/);
  assert.match(await verdict(fixture('gzip'), { maximumTableBytes: 100 }), /^image\.too_large: .*tables take/);
  assert.match(await verdict(fixture('gzip'), { maximumTableBytes: 8192 }), /^image\.too_large: .*tables have/);
});

test('an aborted inspection throws the reason of the signal', async () => {
  const reason = new Error('cancelled');
  for (const name of fixtures) {
    const opened = withSquashfs(fixture(name), (path) => openFile(path, { signal: AbortSignal.abort(reason) }));
    assert.is(await opened.catch((error: unknown) => error), reason);
  }
});

/** The inspection, and the reading of every file, end with a result or an error of ours. */
async function exercise(bytes: Buffer): Promise<void> {
  try {
    await withSquashfs(bytes, async (path) => {
      await using opened = await openFile(path, { maximumContentBytes: 2 ** 24 });
      await readFiles(opened.squashfs);
    });
  } catch (error) {
    assert.instance(error, ImageBuilderError, error instanceof Error ? error.stack : String(error));
    assert.match((error as ImageBuilderError).code, /^image\.(corrupt|unsafe|unsupported|truncated|too_large)$/);
  }
}

test('changed bytes anywhere end in an error of ours or in a result', async () => {
  const flips = fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { minLength: 1, maxLength: 4 });
  const names = fc.constantFrom<Fixture>('gzip', 'zstd', 'lz4', 'gzip', 'zstd', 'lz4', 'xz');
  await fc.assert(
    fc.asyncProperty(names, flips, async (name, changes) => {
      const bytes = fixture(name);
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      await exercise(bytes);
    }),
    { numRuns: 300 },
  );
});

test('changed bytes of uncompressed tables end in an error of ours or in a result', async () => {
  const bytes = fixture('stored');
  const tables = Number(bytes.readBigUInt64LE(64));
  const place = fc.oneof(fc.integer({ min: 0, max: 95 }), fc.integer({ min: tables, max: bytes.length - 1 }));
  const value = fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(place, value), { minLength: 1, maxLength: 3 }), async (changes) => {
      const copy = Buffer.from(bytes);
      for (const [at, byte] of changes) copy[at] = byte;
      try {
        await withSquashfs(copy, async (path) => {
          await using opened = await openFile(path, { maximumContentBytes: 2 ** 24 });
          // Names and attributes alone: each block of xz is a process.
          for (const { inode } of opened.squashfs.entries()) assert.ok(inode.number > 0);
        });
      } catch (error) {
        assert.instance(error, ImageBuilderError, error instanceof Error ? error.stack : String(error));
      }
    }),
    { numRuns: 1000 },
  );
});

test.run();
