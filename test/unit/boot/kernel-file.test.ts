import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type KernelFile, readKernelFile } from '#lib/boot/kernel-file.ts';
import { temporaryFolder } from '../image/temporary.ts';

const { signal } = new AbortController();

/** Reads a kernel that lies in the middle of a file, as on a medium. */
async function read(bytes: Buffer): Promise<KernelFile> {
  await using folder = await temporaryFolder();
  const path = join(folder.path, 'file');
  await writeFile(path, Buffer.concat([Buffer.from('before'), bytes, Buffer.from('Linux version 9.9 (after)')]));
  await using file = await open(path, 'r');
  return await readKernelFile(file, { offset: 6, sizeBytes: bytes.length }, signal);
}

/** A program for EFI of 64 bits; `certificateBytes` is the size of its table of certificates. */
function program(certificateBytes: number, magic = 0x20b): Buffer {
  const bytes = Buffer.alloc(70_000);
  bytes.write('MZ', 0, 'latin1');
  bytes.writeUInt32LE(0x40, 0x3c);
  bytes.write('PE\0\0', 0x40, 'latin1');
  const optional = 0x40 + 24;
  const directories = optional + (magic === 0x20b ? 112 : 96);
  bytes.writeUInt16LE(magic, optional);
  bytes.writeUInt32LE(6, directories - 4);
  bytes.writeUInt32LE(certificateBytes === 0 ? 0 : 60_000, directories + 32);
  bytes.writeUInt32LE(certificateBytes, directories + 36);
  return bytes;
}

/** The header of a kernel for x86 in a program for EFI. */
function x86(version: string, certificateBytes = 0): Buffer {
  const bytes = program(certificateBytes);
  bytes.write('HdrS', 0x202, 'latin1');
  bytes.writeUInt16LE(0x3000, 0x20e);
  bytes.write(`${version} (builder@example.org) #1 SMP\0`, 0x3200, 'latin1');
  return bytes;
}

const banner = 'Linux version 6.8.0-31-generic (buildd@example.org) #31-Ubuntu';
/** The border of two pieces that are read lies within the banner. */
const image = Buffer.concat([Buffer.alloc(2 ** 20 - 20, 1), Buffer.from(banner), Buffer.alloc(1000, 2)]);

function zboot(name: string, payload: Buffer): Buffer {
  const head = Buffer.alloc(64);
  head.write('MZ\0\0zimg', 0, 'latin1');
  head.writeUInt32LE(64, 8);
  head.writeUInt32LE(payload.length, 12);
  head.write(name, 24, 'latin1');
  return Buffer.concat([head, payload]);
}

test('a kernel for x86 has its version in its header', async () => {
  assert.equal(await read(x86('6.1.0-56-amd64')), { version: '6.1.0-56-amd64', isSigned: false });
  assert.equal(await read(x86('6.12.117+deb12-rt-amd64', 2304)), {
    version: '6.12.117+deb12-rt-amd64',
    isSigned: true,
  });
});

for (const [name, bytes] of Object.entries({
  'a plain image': image,
  'an image packed by gzip': gzipSync(image),
  'a program for EFI packed by gzip': zboot('gzip', gzipSync(image)),
  'a program for EFI packed by zstd': zboot('zstd', zstdCompressSync(image)),
})) {
  test(`the version of ${name}, such as those for arm64, is that of its first message`, async () => {
    assert.is((await read(bytes)).version, '6.8.0-31-generic');
  });
}

test('a program for EFI of 32 bits has its table of certificates elsewhere', async () => {
  assert.is((await read(program(100, 0x10b))).isSigned, true);
  assert.is((await read(program(0, 0x10b))).isSigned, false);
});

test('files that are no kernels, or that lie, have neither version nor signature', async () => {
  const far = x86('6.1.0');
  far.writeUInt32LE(0xfffffff0, 0x3c);
  far.writeUInt16LE(0, 0x20e);
  const beyond = zboot('gzip', gzipSync(image));
  beyond.writeUInt32LE(0xfffffff0, 12);
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from('MZ'),
    Buffer.alloc(100_000),
    far,
    beyond,
    gzipSync(image).subarray(0, 40),
  ]) {
    assert.equal(await read(bytes), { version: null, isSigned: false });
  }
  assert.is((await read(x86('6.1.0\x1b[2J'))).version, null);
  assert.is((await read(zboot('lzo', Buffer.alloc(100)))).version, null);
});

test.run();
