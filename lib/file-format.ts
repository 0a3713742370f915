import { isChecksumList, isChecksumName, isSignatureName } from './checksums.ts';
import { sumField, sumOf } from './tar-sum.ts';
import { upTo } from './text.ts';

/** The one place that recognises files by their first and last bytes: for downloads and for images to be opened. */

/**
 * The format of a file.
 *
 * - `qcow2`: a qcow2 image of version 2 or 3.
 * - `raw`: a raw disk with a partition table, or with an ext file system alone.
 * - `vmdk`, `vdi`, `vhd`, `vhdx`: disks of other virtual machines.
 * - `gzip`, `xz`, `zstd`, `bzip2`, `tar`, `zip`, `iso`, `squashfs`: as their names say; an OVA is a tar.
 * - `checksums`: a list of checksums, or a text with the name of one.
 * - `signature`: an OpenPGP signature of another file.
 * - `other`: something else that is known, and in which no kind of image comes.
 * - `unknown`: nothing that is known. It may be a raw disk with a partition table that is not in its first sector.
 */
export interface FileFormat {
  readonly format: 'qcow2' | 'raw' | Wrapping | 'iso' | 'squashfs' | 'checksums' | 'signature' | 'other' | 'unknown';
  /** For people: `a VMDK image`. */
  readonly name: string;
  /** Advice for the user where an image was expected. */
  readonly advice: string;
}

/** Formats that may carry a disk image: compressed, in an archive, or as the disk of another virtual machine. */
export type Wrapping = 'gzip' | 'zstd' | 'xz' | 'bzip2' | 'zip' | 'tar' | 'vmdk' | 'vdi' | 'vhd' | 'vhdx';

interface Signature extends Pick<FileFormat, 'name' | 'advice'> {
  /** Default: `other`. */
  readonly format?: FileFormat['format'];
  /** The bytes at `offset` from the start: text as latin1, or bytes in hexadecimal. */
  readonly offset?: number;
  readonly text?: string;
  readonly hex?: string;
}

/** Bytes from the start of a file that `recognise` needs: the mark of an ISO 9660 image is in its 32nd KiB. */
export const headBytes = 36 * 1024;
/** Bytes from the end of a file that it needs: VHD and DMG keep their mark there. */
export const tailBytes = 512;
/** Bytes of a file that have to be text for the file to count as text. */
const textBytes = 4096;

const convert = 'convert it with qemu-img convert -O qcow2';
const decompress = 'it must be decompressed first';
const extract = 'unpack it first and give the URL of the disk image inside';
const notDisk = 'give the URL of a qcow2 or raw disk image';

const signatures: readonly Signature[] = [
  { format: 'iso', name: 'an ISO 9660 image', advice: notDisk, offset: 0x8001, text: 'CD001' },
  { name: 'a UDF image', advice: notDisk, offset: 0x8001, text: 'NSR02' },
  { name: 'a UDF image', advice: notDisk, offset: 0x8001, text: 'NSR03' },
  { format: 'vmdk', name: 'a VMDK image', advice: convert, text: 'KDMV' },
  { name: 'a VMDK image', advice: convert, text: 'COWD' },
  { name: 'the descriptor of a VMDK image', advice: convert, text: '# Disk DescriptorFile' },
  { format: 'vhd', name: 'a VHD image', advice: convert, text: 'conectix' },
  { format: 'vhdx', name: 'a VHDX image', advice: convert, text: 'vhdxfile' },
  { format: 'vdi', name: 'a VDI image', advice: convert, offset: 0x40, hex: '7f10dabe' },
  { name: 'a QED image', advice: convert, text: 'QED\0' },
  { name: 'a Parallels image', advice: convert, text: 'WithoutFreeSpace' },
  { name: 'a Parallels image', advice: convert, text: 'WithouFreSpacExt' },
  { name: 'a Bochs image', advice: convert, text: 'Bochs Virtual HD Image' },
  { name: 'a cloop image', advice: convert, text: '#!/bin/sh\n#V2.0 Format' },
  { name: 'encrypted (LUKS)', advice: 'give the URL of an image that is not', text: 'LUKS', hex: 'babe' },
  { format: 'gzip', name: 'a gzip file', advice: decompress, hex: '1f8b08' },
  { format: 'xz', name: 'an xz file', advice: decompress, hex: 'fd377a585a00' },
  { format: 'zstd', name: 'a zstd file', advice: decompress, hex: '28b52ffd' },
  { format: 'bzip2', name: 'a bzip2 file', advice: decompress, text: 'BZh' },
  { name: 'an lz4 file', advice: decompress, hex: '04224d18' },
  { name: 'an lzip file', advice: decompress, text: 'LZIP' },
  { format: 'zip', name: 'a zip archive', advice: extract, hex: '504b0304' },
  { name: 'a 7z archive', advice: extract, hex: '377abcaf271c' },
  { format: 'squashfs', name: 'a squashfs file system', advice: notDisk, text: 'hsqs' },
  { name: 'an Android sparse image', advice: 'turn it into a raw image with simg2img', hex: '3aff26ed' },
  { name: 'a Debian package or other ar archive', advice: notDisk, text: '!<arch>\n' },
  { name: 'a cpio archive, such as an initial ramdisk', advice: notDisk, text: '07070' },
  { name: 'a Linux kernel', advice: notDisk, offset: 0x202, text: 'HdrS' },
  { name: 'a Linux kernel', advice: notDisk, offset: 0x38, text: 'ARMd' },
  { name: 'a program', advice: notDisk, hex: '7f454c46' },
  { name: 'an OpenPGP key', advice: notDisk, text: '-----BEGIN PGP PUBLIC KEY' },
];

export interface FileEnds {
  /** The first `headBytes` bytes, or all where there are fewer. */
  readonly head: Buffer;
  /** The last `tailBytes` bytes; missing where they are not known. */
  readonly tail?: Buffer;
  /** Its name, which decides where the bytes do not suffice; missing where it is not known. */
  readonly name?: string;
}

/** Recognises the format of a file. Takes time and memory in step with the bytes that it is given. */
export function recognise({ head, tail, name = '' }: FileEnds): FileFormat {
  if (head.length === 0) return other('an empty file');
  if (head.toString('latin1', 0, 4) === 'QFI\xfb') return qcow(head);
  const known = signatures.find((signature) => matches(head, signature)) ?? archive(head) ?? skippableFrame(head);
  if (known !== null) return { format: known.format ?? 'other', name: known.name, advice: known.advice };
  const footer = tail === undefined ? null : recogniseFooter(tail);
  if (footer !== null) return footer;
  if (hasPartitionTable(head)) {
    // A VHD of fixed size is a raw disk with a footer: without the footer, only its name shows it.
    return /\.(vhd|vpc)$/i.test(name) ? vhd : { format: 'raw', name: 'a raw disk image', advice: '' };
  }
  if (head.toString('latin1', 1080, 1082) === '\x53\xef') {
    return { format: 'raw', name: 'a raw disk image that is one ext file system', advice: '' };
  }
  if (isText(head)) return recogniseText(head, name);
  if (isOldTar(head)) return { format: 'tar', name: 'a tar archive of version 7', advice: extract };
  if (isSignatureName(name)) return signature;
  return { format: 'unknown', name: 'a file of no known kind', advice: notDisk };
}

function other(name: string, advice = notDisk): FileFormat {
  return { format: 'other', name, advice };
}

const vhd: FileFormat = { format: 'vhd', name: 'a VHD image', advice: convert };

/** Version 1 shares only the magic number. */
function qcow(head: Buffer): FileFormat {
  const version = head.length >= 8 ? head.readUInt32BE(4) : 0;
  return version === 2 || version === 3
    ? { format: 'qcow2', name: 'a qcow2 image', advice: '' }
    : other(`a qcow image of version ${version}`, convert);
}

function archive(head: Buffer): FileFormat | null {
  if (head.toString('latin1', 257, 262) !== 'ustar') return null;
  const firstMember = upTo(head.toString('latin1', 0, 100), '\0');
  return { format: 'tar', name: firstMember.endsWith('.ovf') ? 'an OVA archive' : 'a tar archive', advice: extract };
}

/** Frames that hold no data (RFC 8878, 3.1.2): pzstd begins with one. lz4 has the same, and nothing writes it first there. */
function skippableFrame(head: Buffer): FileFormat | null {
  if (head.length < 8 || head.readUInt32LE(0) >>> 4 !== 0x184d2a5) return null;
  return { format: 'zstd', name: 'a zstd file', advice: decompress };
}

/** Archives of version 7 have no mark: the checksum of their first header is right. */
function isOldTar(head: Buffer): boolean {
  const written = /^ *[0-7]{1,6}[\0 ]{1,2}$/.exec(head.toString('latin1', sumField.from, sumField.to));
  if (head.length < 512 || written === null) return false;
  return Number.parseInt(written[0], 8) === sumOf(head.subarray(0, 512));
}

/** A fixed VHD and a DMG are raw disks with a footer. */
function recogniseFooter(tail: Buffer): FileFormat | null {
  if (tail.toString('latin1', 0, 8) === 'conectix') return vhd;
  if (tail.toString('latin1', 0, 4) === 'koly') return other('a DMG image', convert);
  return null;
}

/**
 * A GPT, or an MBR with a plausible partition: the signature 55 AA alone also ends the first sector of kernels and of
 * single file systems.
 */
function hasPartitionTable(head: Buffer): boolean {
  if (head.length < 512 || head.readUInt16LE(510) !== 0xaa55) return false;
  const entries = [446, 462, 478, 494].map((offset) => ({
    status: head.readUInt8(offset),
    type: head.readUInt8(offset + 4),
    firstSector: head.readUInt32LE(offset + 8),
    sectors: head.readUInt32LE(offset + 12),
  }));
  return (
    entries.every(({ status }) => (status & 0x7f) === 0) &&
    entries.some(({ type, firstSector, sectors }) => type !== 0 && firstSector > 0 && sectors > 0)
  );
}

/** A disk has zero bytes within its first blocks, a text has none. */
function isText(head: Buffer): boolean {
  return !head
    .subarray(0, textBytes)
    .some((byte) => byte < 9 || (byte > 13 && byte < 32 && byte !== 27) || byte === 127);
}

const signature: FileFormat = { format: 'signature', name: 'an OpenPGP signature', advice: notDisk };

function recogniseText(head: Buffer, name: string): FileFormat {
  const whole = head.toString('utf8');
  if (isChecksumList(whole)) return { format: 'checksums', name: 'a list of checksums', advice: notDisk };
  const text = whole.replace(/^\uFEFF/, '').trimStart();
  if (text.startsWith('-----BEGIN PGP SIGNATURE-----')) return signature;
  const found = describeText(text);
  if (isChecksumName(name)) return { format: 'checksums', name: `${found.name} named ${name}`, advice: found.advice };
  return isSignatureName(name) ? signature : found;
}

function describeText(text: string): FileFormat {
  const beginning = text.slice(0, 200).toLowerCase();
  if (/^<(!doctype html|html|head|body|!--)/.test(beginning)) {
    return other('a web page', 'the server may have answered with an error or a login page');
  }
  if (beginning.startsWith('<')) return other('an XML document');
  if (/^[{[]/.test(beginning)) return other('a JSON document');
  if (/^[a-z0-9][a-z0-9+.:-]+[\t ]+[0-9]\S*$/.test(upTo(text, '\n'))) return other('a package manifest');
  return other('a text file');
}

function matches(head: Buffer, { offset = 0, text = '', hex = '' }: Signature): boolean {
  const expected = Buffer.concat([Buffer.from(text, 'latin1'), Buffer.from(hex, 'hex')]);
  return head.subarray(offset, offset + expected.length).equals(expected);
}
