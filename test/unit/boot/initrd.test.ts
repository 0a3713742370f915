import { execFileSync } from 'node:child_process';
import { open, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Initrd, readInitrd } from '#lib/boot/initrd.ts';
import { temporaryFolder, testIds } from '../fetch/with-server.ts';
import { cpioArchive } from './cpio-archive.ts';

const folder = await temporaryFolder();
const workDirectory = folder.path;
const signal = new AbortController().signal;

async function read(bytes: Buffer): Promise<Initrd> {
  const path = join(workDirectory, 'initrd');
  // It lies in the middle of a file, as in a bundle.
  await writeFile(path, Buffer.concat([Buffer.from('before'), bytes, Buffer.from('after')]));
  await using file = await open(path, 'r');
  return await readInitrd(
    file,
    { offset: 6, sizeBytes: bytes.length },
    { workDirectory, unprivilegedIds: testIds, signal },
  );
}

const early = cpioArchive(['kernel/x86/microcode/GenuineIntel.bin'], 70_000);
const main = cpioArchive(
  ['init', 'usr/lib/modules/6.1.0/kernel/fs/ext4/ext4.ko', 'usr/lib/modules/6.1.0/kernel/drivers/virtio-blk.ko.xz'],
  3000,
);
const run = (file: string, words: readonly string[]) => execFileSync(file, words, { input: main });
/** One block of LZ4 that consists of literals, behind the magic number and its length. */
function lz4(content: Buffer): Buffer {
  const more = content.length - 15;
  const lengths = Buffer.from([0xf0, ...Array.from({ length: Math.floor(more / 255) }, () => 255), more % 255]);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184c2102, 0);
  head.writeUInt32LE(lengths.length + content.length, 4);
  return Buffer.concat([head, lengths, content]);
}
const forms = {
  'no program': main,
  gzip: gzipSync(main),
  zstd: zstdCompressSync(main),
  xz: run('xz', ['--check=crc32']),
  lzma: run('xz', ['--format=lzma']),
  bzip2: run('bzip2', []),
  lz4: lz4(main),
};

for (const [name, packed] of Object.entries(forms)) {
  test(`modules in an initial ramdisk that is compressed by ${name} are found, behind an early part too`, async () => {
    for (const bytes of [packed, Buffer.concat([early, Buffer.alloc(512), packed])]) {
      const { modules, damage, unknown } = await read(bytes);
      assert.equal([[...modules], damage, unknown], [['ext4', 'virtio_blk'], null, null]);
    }
    assert.equal(await readdir(workDirectory), ['initrd']);
  });

  test(`an initial ramdisk that is compressed by ${name} and cut is not whole`, async () => {
    for (const part of [0.3, 0.9]) {
      const { damage } = await read(packed.subarray(0, Math.floor(packed.length * part)));
      assert.match(damage ?? '', /ends in the middle|is damaged/, `${part}`);
    }
  });
}

test('modules of an archive that is not compressed are found beside those of a compressed one', async () => {
  const { modules } = await read(Buffer.concat([cpioArchive(['a/nvme.ko.zst']), gzipSync(main)]));
  assert.equal([...modules], ['nvme', 'ext4', 'virtio_blk']);
});

test('data in a form that is not known makes no verdict', async () => {
  const lzo = await read(Buffer.from('894c5a4f000d0a1a0a', 'hex'));
  assert.equal([lzo.damage, lzo.unknown], [null, 'it is compressed by lzo, which is not read here']);
  const other = await read(Buffer.concat([early, Buffer.from('something else')]));
  assert.equal([other.damage, other.unknown], [null, 'it goes on with data of an unknown form']);
});

test('lengths that lie end the reading', async () => {
  const long = Buffer.from(cpioArchive(['init'], 100));
  long.write('ffffffff', 54, 'latin1');
  assert.is((await read(long)).damage, 'it ends in the middle');
  const named = Buffer.from(cpioArchive(['init'], 100));
  named.write('ffffffff', 94, 'latin1');
  assert.is((await read(named)).damage, 'it is damaged');
  const block = Buffer.from('02214c18ffffffff00', 'hex');
  assert.match((await read(block)).damage ?? '', 'damaged');
  assert.is((await read(Buffer.alloc(0))).damage, 'it ends in the middle');
  assert.is((await read(Buffer.alloc(4096))).damage, 'it ends in the middle');
});

test.after(async () => await folder[Symbol.asyncDispose]());

test.run();
