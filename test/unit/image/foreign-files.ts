import { randomBytes } from 'node:crypto';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';

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
/** Files that are no disk image, with what the refusal says. */
export const foreignFiles: Record<string, { content: Uint8Array; expected: RegExp }> = {
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
