import { upTo } from './text.ts';

/** What files begin with, in one place: for what is downloaded and for what is opened. */

/** A kind of file that is no disk image that can be changed. */
export interface KnownFormat {
  /** For people: `a VMDK image`. */
  readonly name: string;
  /** What to do about it. */
  readonly advice: string;
}

interface Signature extends KnownFormat {
  /** What stands at `offset` from the start: text as latin1, or bytes in hexadecimal. */
  readonly offset?: number;
  readonly text?: string;
  readonly hex?: string;
}

/** How many bytes from the start of a file `knownFormat` wants to see: an ISO 9660 image is known by its 32nd KiB. */
export const signatureBytes = 36 * 1024;

const convert = 'convert it with qemu-img convert -O qcow2';
const decompress = 'it must be decompressed first';
const extract = 'unpack it first and give the URL of the disk image inside';
export const notDisk = 'give the URL of a qcow2 or raw disk image';

const signatures: readonly Signature[] = [
  { name: 'an ISO 9660 image', advice: notDisk, offset: 0x8001, text: 'CD001' },
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
  { name: 'an Android sparse image', advice: 'turn it into a raw image with simg2img', hex: '3aff26ed' },
  { name: 'a Debian package or other ar archive', advice: notDisk, text: '!<arch>\n' },
  { name: 'a cpio archive, such as an initial ramdisk', advice: notDisk, text: '07070' },
  { name: 'a Linux kernel', advice: notDisk, offset: 0x202, text: 'HdrS' },
  { name: 'a Linux kernel', advice: notDisk, offset: 0x38, text: 'ARMd' },
  { name: 'a program', advice: notDisk, hex: '7f454c46' },
  { name: 'an OpenPGP signature or key', advice: notDisk, text: '-----BEGIN PGP' },
];

/** What a file is, told by its first `signatureBytes` bytes, or all there are; null where they say nothing. */
export function knownFormat(head: Buffer): KnownFormat | null {
  const known = signatures.find((signature) => matches(head, signature));
  if (known !== undefined) return known;
  if (head.toString('latin1', 257, 262) !== 'ustar') return null;
  const firstMember = upTo(head.toString('latin1', 0, 100), '\0');
  return { name: firstMember.endsWith('.ovf') ? 'an OVA archive' : 'a tar archive', advice: extract };
}

/** A fixed VHD and a DMG are raw disks with a footer, told by its last 512 bytes; null for any other. */
export function knownFooter(tail: Buffer): KnownFormat | null {
  if (tail.toString('latin1', 0, 8) === 'conectix') return { name: 'a VHD image', advice: convert };
  if (tail.toString('latin1', 0, 4) === 'koly') return { name: 'a DMG image', advice: convert };
  return null;
}

function matches(head: Buffer, { offset = 0, text = '', hex = '' }: Signature): boolean {
  const expected = Buffer.concat([Buffer.from(text, 'latin1'), Buffer.from(hex, 'hex')]);
  return head.subarray(offset, offset + expected.length).equals(expected);
}
