import { createHash, randomBytes } from 'node:crypto';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { toImageBuilderError } from '#lib/errors.ts';
import { hashFile } from '#lib/image/digest.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { craftGpt, linuxData } from './craft-table.ts';
import { temporaryFolder, withFile } from './temporary.ts';

const maximumVirtualBytes = 2 ** 30;

async function verdict(content: Uint8Array): Promise<string> {
  return await withFile(content, async (path) => {
    try {
      return (await inspectImage(path, { maximumVirtualBytes })).format;
    } catch (thrown) {
      const error = toImageBuilderError(thrown);
      return `${error.code}: ${error.message}`;
    }
  });
}

/** 100 KiB with `text` at `offset`. */
function filled(text: string, offset = 0): Buffer {
  const bytes = Buffer.alloc(100 * 1024);
  bytes.write(text, offset, 'latin1');
  return bytes;
}

function tar(firstMember: string): Buffer {
  const bytes = filled(firstMember);
  bytes.write('ustar', 257);
  return bytes;
}

const image = Buffer.alloc(200_000, 'image');
const others: Record<string, { content: Uint8Array; expected: RegExp }> = {
  'an empty file': { content: Buffer.alloc(0), expected: /an empty file/ },
  'a VMDK image': { content: filled('KDMV'), expected: /VMDK image.*qemu-img convert/ },
  'the descriptor of a VMDK image': {
    content: Buffer.from('# Disk DescriptorFile\nversion=1\nRW 1 FLAT "/etc/shadow" 0\n'),
    expected: /descriptor of a VMDK image/,
  },
  'a dynamic VHD image': { content: filled('conectix'), expected: /VHD image/ },
  'a fixed VHD image': { content: filled('conectix', 100 * 1024 - 512), expected: /VHD image/ },
  'a VHDX image': { content: filled('vhdxfile'), expected: /VHDX image/ },
  'a VDI image': { content: filled('\x7f\x10\xda\xbe', 0x40), expected: /VDI image/ },
  'a DMG image': { content: filled('koly', 100 * 1024 - 512), expected: /DMG image/ },
  'an ISO image': { content: filled('CD001', 0x8001), expected: /ISO 9660/ },
  'a squashfs': { content: filled('hsqs'), expected: /squashfs/ },
  'a LUKS volume': { content: filled('LUKS\xba\xbe'), expected: /encrypted \(LUKS\)/ },
  'a gzip file': { content: gzipSync(image), expected: /gzip.*decompressed/ },
  'a zstd file': { content: zstdCompressSync(image), expected: /zstd.*decompressed/ },
  'an xz file': { content: filled('\xfd7zXZ\0'), expected: /xz.*decompressed/ },
  'a bzip2 file': { content: filled('BZh9'), expected: /bzip2.*decompressed/ },
  'a zip archive': { content: filled('PK\x03\x04'), expected: /zip archive.*unpack/ },
  'a tar archive': { content: tar('disk.img'), expected: /tar archive.*unpack/ },
  'an OVA archive': { content: tar('appliance.ovf'), expected: /OVA archive/ },
  'a page': { content: Buffer.from('\uFEFF \n<!DOCTYPE html><title>502</title>'), expected: /web page/ },
  'an XML document': { content: Buffer.from('<?xml version="1.0"?><Error/>'), expected: /XML document/ },
  'a JSON document': { content: Buffer.from('{"error": "no"}'), expected: /JSON document/ },
  'a manifest': { content: Buffer.from('adduser\t3.134\napt\t2.6.1\n'), expected: /package manifest/ },
  'a program': { content: filled('\x7fELF'), expected: /a program/ },
  'noise without a mark': { content: deflateSync(brotliCompressSync(randomBytes(5000))), expected: /neither/ },
  'a blank disk': { content: Buffer.alloc(100 * 1024), expected: /neither/ },
};

for (const [what, { content, expected }] of Object.entries(others)) {
  test(`names ${what} and what to do`, async () => {
    const found = await verdict(content);
    assert.match(found, /^image\.unsupported: /);
    assert.match(found, expected);
  });
}

test('a raw disk with partitions is an image, and one that was cut off is not', async () => {
  const disk = craftGpt([{ type: linuxData, first: 2048n, last: 3071n }]);
  assert.is(await verdict(disk), 'raw');
  assert.match(await verdict(disk.subarray(0, 2048 * 512)), /^image\.truncated: partition 1 ends at byte 1572864/);
});

test('a raw disk over the size limit is refused', async () => {
  const disk = craftGpt([{ type: linuxData, first: 2048n, last: 3071n }]);
  await withFile(disk, async (path) => {
    try {
      await inspectImage(path, { maximumVirtualBytes: disk.length - 1 });
      assert.unreachable('the limit holds');
    } catch (thrown) {
      assert.is(toImageBuilderError(thrown).code, 'image.too_large');
    }
  });
});

test('an aborted inspection throws the reason', async () => {
  const reason = new Error('stop');
  const controller = new AbortController();
  controller.abort(reason);
  const options = { maximumVirtualBytes, signal: controller.signal };
  const thrown = await withFile(craftGpt([]), (path) => inspectImage(path, options).catch((error: unknown) => error));
  assert.is(thrown, reason);
});

test('a file is hashed whole, whatever its size', async () => {
  for (const size of [0, 1, 2 ** 20, 2 ** 20 + 1, 3_000_000]) {
    const content = randomBytes(size);
    const progress: number[] = [];
    const result = await withFile(content, (path) =>
      hashFile(path, { onProgress: (current) => progress.push(current) }),
    );
    const hex = (algorithm: string) => createHash(algorithm).update(content).digest('hex');
    assert.equal(result, { sizeBytes: size, checksums: { sha256: hex('sha256'), sha512: hex('sha512') } });
    assert.is(progress.at(-1) ?? 0, size);
  }
});

test('hashing a file that is not there says so', async () => {
  await using folder = await temporaryFolder();
  const thrown = await hashFile(folder.file('nothing')).catch((error: NodeJS.ErrnoException) => error.code);
  assert.is(thrown, 'ENOENT');
});

test.run();
