import { isQcow } from './qcow2/header.ts';

/** Bytes from the start of a file that `detectFormat` wants, or the whole file where it is shorter. */
export const formatHeadBytes = 64 * 1024;
/** Bytes from the end of a file that `detectFormat` wants: VHD and DMG keep their mark there. */
export const formatTailBytes = 512;

/** What a file is: something to look into, or something else in words, with what to do about it. */
export type DetectedFormat =
  | { readonly format: 'qcow2' | 'raw' }
  | { readonly format: 'other'; readonly name: string; readonly advice: string };

interface Signature {
  readonly name: string;
  readonly advice: string;
  /** What stands at `offset` from the start: text as latin1, or bytes in hexadecimal. */
  readonly offset?: number;
  readonly text?: string;
  readonly hex?: string;
}

const convert = 'convert it with qemu-img convert -O qcow2';
const decompress = 'it must be decompressed first';
const extract = 'unpack it first and give the URL of the disk image inside';
const notDisk = 'give the URL of a qcow2 or raw disk image';

const signatures: readonly Signature[] = [
  { name: 'a VMDK image', advice: convert, text: 'KDMV' },
  { name: 'a VMDK image', advice: convert, text: 'COWD' },
  { name: 'the descriptor of a VMDK image', advice: convert, text: '# Disk DescriptorFile' },
  { name: 'a VHD image', advice: convert, text: 'conectix' },
  { name: 'a VHDX image', advice: convert, text: 'vhdxfile' },
  { name: 'a VDI image', advice: convert, offset: 0x40, hex: '7f10dabe' },
  { name: 'a QED image', advice: convert, text: 'QED\0' },
  { name: 'a Parallels image', advice: convert, text: 'WithoutFreeSpace' },
  { name: 'a Parallels image', advice: convert, text: 'WithouFreSpacExt' },
  { name: 'a Bochs image', advice: convert, text: 'Bochs Virtual HD Image' },
  { name: 'a cloop image', advice: convert, text: '#!/bin/sh\n#V2.0 Format' },
  { name: 'encrypted (LUKS)', advice: 'give the URL of an image that is not', text: 'LUKS', hex: 'babe' },
  { name: 'a gzip file', advice: decompress, hex: '1f8b08' },
  { name: 'an xz file', advice: decompress, hex: 'fd377a585a00' },
  { name: 'a zstd file', advice: decompress, hex: '28b52ffd' },
  { name: 'a bzip2 file', advice: decompress, text: 'BZh' },
  { name: 'an lz4 file', advice: decompress, hex: '04224d18' },
  { name: 'an lzip file', advice: decompress, text: 'LZIP' },
  { name: 'a zip archive', advice: extract, hex: '504b0304' },
  { name: 'a 7z archive', advice: extract, hex: '377abcaf271c' },
  { name: 'a squashfs file system', advice: notDisk, text: 'hsqs' },
  { name: 'an ISO 9660 image (a CD or DVD)', advice: notDisk, offset: 0x8001, text: 'CD001' },
  { name: 'an Android sparse image', advice: 'turn it into a raw image with simg2img', hex: '3aff26ed' },
  { name: 'a Debian package or other ar archive', advice: notDisk, text: '!<arch>\n' },
  { name: 'a cpio archive', advice: notDisk, text: '07070' },
  { name: 'a program', advice: notDisk, hex: '7f454c46' },
];

/**
 * Says what a file is from its first `formatHeadBytes` and last `formatTailBytes` bytes. Everything that nothing else
 * recognises is `raw`: whether a raw file holds a disk is for its partition table to say.
 */
export function detectFormat(head: Buffer, tail: Buffer): DetectedFormat {
  if (head.length === 0) return other('empty', 'give the URL of a qcow2 or raw disk image');
  if (isQcow(head)) return { format: 'qcow2' };
  const known = signatures.find((signature) => matches(head, signature));
  if (known !== undefined) return other(known.name, known.advice);
  if (head.toString('latin1', 257, 262) === 'ustar') return tarArchive(head);
  // A fixed VHD and a DMG are raw disks with a footer; a GPT's own last sector begins with EFI PART.
  if (tail.toString('latin1', 0, 8) === 'conectix') return other('a VHD image', convert);
  if (tail.toString('latin1', 0, 4) === 'koly') return other('a DMG image', convert);
  return text(head) ?? { format: 'raw' };
}

function matches(head: Buffer, { offset = 0, text: latin1 = '', hex = '' }: Signature): boolean {
  const expected = Buffer.concat([Buffer.from(latin1, 'latin1'), Buffer.from(hex, 'hex')]);
  return head.subarray(offset, offset + expected.length).equals(expected);
}

function tarArchive(head: Buffer): DetectedFormat {
  const firstMember = head.toString('latin1', 0, 100).replace(/\0.*$/s, '');
  return firstMember.endsWith('.ovf') ? other('an OVA archive', extract) : other('a tar archive', extract);
}

/** Pages and lists that stand where an image was expected; a disk has zero bytes within its first blocks. */
function text(head: Buffer): DetectedFormat | null {
  const start = head.subarray(0, 4096);
  if (start.some((byte) => byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d)) return null;
  const beginning = start
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .trimStart()
    .slice(0, 200)
    .toLowerCase();
  if (/^<(!doctype html|html|head|body|!--)/.test(beginning)) {
    return other('an HTML page', 'the server may have answered with an error or a login page');
  }
  if (beginning.startsWith('<')) return other('an XML document', notDisk);
  if (/^[{[]/.test(beginning)) return other('a JSON document', notDisk);
  return other('a text file', notDisk);
}

function other(name: string, advice: string): DetectedFormat {
  return { format: 'other', name, advice };
}
