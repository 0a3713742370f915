import { randomBytes } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import type { BaseImage } from '#lib/fetch/base-image.ts';
import type { GuestDisk } from '#lib/guest/guest.ts';
import { type Compression, writeCompressed } from '#lib/image/compress.ts';
import { decompressFile } from '#lib/image/unwrap/decompress-file.ts';
import type { InspectedImage } from '#lib/kinds/kind.ts';
import { touch } from '#lib/kinds/touch/touch.ts';
import { failure } from '../../../failure.ts';
import { type CraftedMember, craftTar, marks } from '../../../tar/craft.ts';
import { readFileAsRoot } from '../../../tar/read.ts';
import { craftQcow2 } from '../../image/craft-qcow2.ts';
import { temporaryFolder } from '../../image/temporary.ts';
import { testWith } from '../../with-programs.ts';

/** Archives of root file systems, with changes as a guest writes them: each keeps its form. */

const { unprivilegedIds } = loadConfig({}).tools;
const { signal } = new AbortController();
const packing = { gzipLevel: 6, xzPreset: 0, xzThreads: 2, unprivilegedIds, signal } as const;

/** The members of a small system, with this before their names. */
function system(prefix: string, mark: string = marks.ustar): CraftedMember[] {
  const folders = ['etc/', 'var/', 'var/lib/', 'var/lib/dpkg/'].map((name) => ({ name, flag: '5' }));
  const files = [
    { name: 'etc/hostname', content: 'phone\n' },
    { name: 'etc/old', content: 'old\n' },
    { name: 'var/lib/dpkg/status', content: 'Package: base\n' },
  ];
  const root = prefix === '' ? [] : [{ name: prefix, flag: '5', mark }];
  return [...root, ...[...folders, ...files].map((member) => ({ ...member, name: prefix + member.name, mark }))];
}

interface Opened extends AsyncDisposable {
  readonly image: InspectedImage;
  readonly disk: GuestDisk;
  readonly warnings: readonly string[];
  file(name: string): string;
  pack(): Promise<string>;
}

/** Inspects an archive, and puts changes there as a guest does. */
async function openArchive(archive: Buffer, compression: Compression, delta: Buffer, gone = ''): Promise<Opened> {
  const folder = await temporaryFolder();
  const path = folder.file('base');
  await writeCompressed(path, pieces(archive), { ...packing, compression });
  const warnings: string[] = [];
  const image = await inspect(path, folder.path);
  await writeFile(folder.file('changes.tar'), delta);
  await writeFile(folder.file('gone'), gone);
  await writeFile(folder.file('root.ext4'), '');
  const changes = { path: folder.file('changes.tar'), gonePath: folder.file('gone') };
  const disk: GuestDisk = {
    ...{ overlayPath: folder.file('overlay'), workDirectory: folder.path, buildId: 'x', partitions: [] },
    base: { path: folder.file('root.ext4'), format: 'raw' },
    changes: { ...changes, untouchedSeconds: 1, members: [], maximumBytes: 2 ** 30 },
  };
  const output = folder.file('image');
  const onWarning = (warning: string) => void warnings.push(warning);
  const quiet = { onProgress: () => undefined, onLog: () => undefined, onWarning };
  return {
    ...{ image, disk, warnings, file: folder.file },
    async pack() {
      await image.pack(disk, output, { ...packing, compression: 'zlib', ...quiet });
      return output;
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

async function inspect(path: string, workDirectory: string): Promise<InspectedImage> {
  const base: BaseImage = {
    ...{ path, url: 'http://x/image', sizeBytes: (await readFile(path)).length, sha256: '0'.repeat(64) },
    ...{ fromCache: false, verifiedBy: 'unverified', checksumsUrl: null, checksumAlgorithms: [], signedBy: null },
    isSound: false,
  };
  return await touch.inspect(base, {
    ...{ maximumVirtualBytes: 2 ** 30, unprivilegedIds, outputFormat: 'qcow2', diskBytes: null, workDirectory, signal },
    baseImage: { image_type: 'touch', url_list: ['http://x/image'], series: 'noble' },
    onNotice: () => undefined,
    onProgress: () => undefined,
  });
}

async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

const delta = craftTar(
  { name: './etc/hostname', content: 'tablet\n' },
  { name: './usr/', flag: '5' },
  { name: './usr/new', content: 'new\n', records: { 'SCHILY.xattr.user.a': 'b' } },
);
const checking = { signal, onProgress: () => undefined };

for (const [compression, format, prefix] of [
  ['gzip', 'tar.gz', './'],
  ['xz', 'tar.xz', 'system/'],
  ['zstd', 'tar.zst', ''],
  ['none', 'tar', './'],
] as const) {
  testWith(...(compression === 'xz' ? ['xz'] : []))(
    `an archive as ${format}, names as ${prefix}x: it stays one`,
    async () => {
      await using opened = await openArchive(craftTar(...system(prefix)), compression, delta, 'etc/old\0');
      const { image } = opened;
      assert.is(image.format, format);
      const path = await opened.pack();
      const [artifact] = await image.check(path, `x.${format}`, checking);
      assert.equal([artifact.role, artifact.format], ['image', format]);
      // Only the form of a system-image server has names of its own.
      const name = format === 'tar.xz' ? `ubuntu-${artifact.checksums.sha256}.tar.xz` : `x.${format}`;
      assert.is(artifact.name, name);
      const plain = compression === 'none' ? path : opened.file('plain');
      const limits = { maximumBytes: 2 ** 30, unprivilegedIds, ...checking };
      if (compression !== 'none') await decompressFile(path, compression, plain, limits);
      const result = await readFileAsRoot(plain);
      assert.is(result.prefix, prefix);
      assert.equal(
        [...result.entries.keys()].filter((name) => name !== ''),
        ['etc', 'var', 'var/lib', 'var/lib/dpkg', 'etc/hostname', 'var/lib/dpkg/status', 'usr', 'usr/new'],
      );
      assert.is(result.entries.get('etc/hostname')?.sizeBytes, 7);
    },
  );
}

test('a base in the format of GNU tar loses new attributes, and a warning says so', async () => {
  await using opened = await openArchive(craftTar(...system('./', marks.gnu)), 'gzip', delta);
  await opened.image.check(await opened.pack(), 'x', checking);
  assert.match(opened.warnings.join('\n'), /GNU tar's format, which has no attributes: usr\/new lose/);
});

test('a finished archive that is not what was packed ends the build', async () => {
  await using opened = await openArchive(craftTar(...system('./')), 'none', delta);
  const path = await opened.pack();
  const good = await readFile(path);
  const at = good.indexOf('Package: base');
  await writeFile(path, Buffer.concat([good.subarray(0, at), Buffer.from('Q'), good.subarray(at + 1)]));
  const changed = await failure(opened.image.check(path, 'x', checking));
  assert.is(changed.code, 'image.output');
  assert.match(changed.message, /"var\/lib\/dpkg\/status" of the new archive has changed/);
  await writeFile(path, good.subarray(0, good.length - 10_240));
  const cut = await failure(opened.image.check(path, 'x', checking));
  assert.match(`${cut.code}: ${cut.message}`, /^image\.output: the new archive cannot be read: .*ends too early/);
});

test('changes that lead out of the image are refused', async () => {
  const hostile = craftTar({ name: './../escaped', content: 'x' });
  await using opened = await openArchive(craftTar(...system('./')), 'none', hostile);
  assert.is((await failure(opened.pack())).code, 'image.unsafe');
});

/** Several compressed files in one, as `cat` makes them, and compressors that work in parallel. */
const inParts = (parts: readonly Buffer[]): Readonly<Record<string, Buffer>> => {
  const frames = parts.map((part) => zstdCompressSync(part));
  // RFC 8878, 3.1.2: a magic number, a length, and bytes for nobody.
  const skippable = Buffer.concat([Buffer.from('5e2a4d1803000000', 'hex'), Buffer.from('abc')]);
  return {
    'gzip, in members': Buffer.concat(parts.map((part) => gzipSync(part))),
    'gzip, with zeros behind it': Buffer.concat([...parts.map((part) => gzipSync(part)), Buffer.alloc(700)]),
    'zstd, in frames': Buffer.concat(frames),
    'zstd, in frames with others between that hold nothing': Buffer.concat(
      frames.flatMap((frame) => [skippable, frame]),
    ),
  };
};

for (const name of Object.keys(inParts([]))) {
  test(`an archive packed by ${name} is read whole`, async () => {
    await using folder = await temporaryFolder();
    const archive = craftTar(...system('./'), { name: './etc/big', content: randomBytes(3 * 2 ** 20) });
    const parts = [0, 100, 1000, 1000, 2 ** 20, archive.length].map((at, index, all) =>
      archive.subarray(all[index - 1] ?? 0, at),
    );
    await writeFile(folder.file('base'), inParts(parts)[name] ?? '');
    const image = await inspect(folder.file('base'), folder.path);
    assert.match(image.format, /^tar/);
    assert.ok((await readFile(folder.file('root.tar'))).equals(archive));
  });
}

testWith('xz')('an archive packed by xz, in streams with zeros between, is read whole', async () => {
  await using folder = await temporaryFolder();
  const archive = craftTar(...system('./'));
  const pack = async (bytes: Buffer) =>
    await writeCompressed(folder.file('part'), pieces(bytes), { ...packing, compression: 'xz' });
  const streams: Buffer[] = [];
  for (const part of [archive.subarray(0, 1000), archive.subarray(1000)]) {
    await pack(part);
    streams.push(await readFile(folder.file('part')), Buffer.alloc(8));
    await rm(folder.file('part'));
  }
  await writeFile(folder.file('base'), Buffer.concat(streams));
  await inspect(folder.file('base'), folder.path);
  assert.ok((await readFile(folder.file('root.tar'))).equals(archive));
});

test('a zstd file with something else behind its last frame, or a cut one, is refused', async () => {
  await using folder = await temporaryFolder();
  const frame = zstdCompressSync(craftTar(...system('./')));
  for (const [bytes, code] of [
    [Buffer.concat([frame, Buffer.from('more')]), 'image.corrupt'],
    [Buffer.concat([frame, frame.subarray(0, 40)]), 'image.truncated'],
  ] as const) {
    await writeFile(folder.file('base'), bytes);
    assert.is((await failure(inspect(folder.file('base'), folder.path))).code, code);
    await rm(folder.file('root.tar'), { force: true });
  }
});

test('a plain archive of version 7, which has no mark, is taken', async () => {
  await using folder = await temporaryFolder();
  const members = system('').map((member) => ({ ...member, mark: marks.v7, flag: '\0' }));
  await writeFile(folder.file('base'), craftTar(...members));
  assert.is((await inspect(folder.file('base'), folder.path)).format, 'tar');
});

const withoutSystem: Readonly<Record<string, readonly [Buffer, RegExp]>> = {
  'an archive of something else': [
    craftTar({ name: 'disk.img', content: 'x' }),
    /unsupported: .*no root file system.*no etc/,
  ],
  "a device's archive of a system-image release": [
    craftTar(...['partitions/', 'system/'].map((name) => ({ name, flag: '5' })), {
      name: 'partitions/boot.img',
      content: 'x',
    }),
    /unsupported: .*no root file system/,
  ],
  'a compressed file that is no archive': [gzipSync('text'), /unsupported: the compressed file holds a text file/],
  'a compressed disk': [gzipSync(craftQcow2().bytes), /unsupported: the compressed file holds a qcow2 image/],
  'a damaged compressed file': [gzipSync(craftTar(...system(''))).subarray(0, 60), /truncated/],
};

for (const [name, [content, error]] of Object.entries(withoutSystem)) {
  test(`${name} is refused`, async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, 'base'), content);
    const { code, message } = await failure(inspect(join(folder.path, 'base'), folder.path));
    assert.match(`${code}: ${message}`, error);
  });
}

test.run();
