import { knownFormat, signatureBytes } from '../file-format.ts';

/** What a URL serves, told by its first bytes, and where those say nothing, by its name. */
export interface ContentKind {
  /** `image` may be a base image, `checksums` is a SHA256SUMS file, `other` is neither. */
  readonly role: 'image' | 'checksums' | 'other';
  /** For people: `a qcow2 image`, `a Linux kernel`. */
  readonly name: string;
}

/** How many bytes `contentKind` wants to see. */
export const sniffBytes = signatureBytes;

/** Tells what begins with `bytes` (the first `sniffBytes`, or all there is) and is served as `fileName`. */
export function contentKind(bytes: Buffer, fileName: string): ContentKind {
  const text = bytes.toString('latin1');
  if (bytes.length === 0) return other('an empty file');
  if (text.startsWith('QFI\xfb')) return qcow(bytes);
  const known = knownFormat(bytes);
  if (known !== null) return other(known.name);
  if (hasPartitionTable(bytes)) {
    // A VHD of fixed size is a raw disk with a footer: only its name tells.
    return /\.(vhd|vpc)$/i.test(fileName) ? other('a VHD image') : { role: 'image', name: 'a raw disk image' };
  }
  if (text.startsWith('\x53\xef', 1080)) return other('a bare ext file system without a partition table');
  if (/\.(gpg|sig|asc)$/i.test(fileName)) return other('a signature');
  if (isText(bytes)) return textKind(text, fileName);
  return other('a file of no known kind');
}

const other = (name: string): ContentKind => ({ role: 'other', name });

/** Version 1 is named apart, since it shares the magic number and nothing else. */
function qcow(bytes: Buffer): ContentKind {
  const version = bytes.length >= 8 ? bytes.readUInt32BE(4) : 0;
  return version === 2 || version === 3
    ? { role: 'image', name: 'a qcow2 image' }
    : other(`a qcow image of version ${version}`);
}

/**
 * A GPT, or an MBR with a partition that can be one: the signature 55 AA alone also ends the first sector of kernels
 * and of single file systems.
 */
function hasPartitionTable(bytes: Buffer): boolean {
  if (bytes.length < 512 || bytes.readUInt16LE(510) !== 0xaa55) return false;
  const entries = [446, 462, 478, 494].map((offset) => ({
    status: bytes.readUInt8(offset),
    type: bytes.readUInt8(offset + 4),
    firstSector: bytes.readUInt32LE(offset + 8),
    sectors: bytes.readUInt32LE(offset + 12),
  }));
  return (
    entries.every(({ status }) => (status & 0x7f) === 0) &&
    entries.some(({ type, firstSector, sectors }) => type !== 0 && firstSector > 0 && sectors > 0)
  );
}

function isText(bytes: Buffer): boolean {
  return !bytes.some((byte) => byte < 9 || (byte > 13 && byte < 32 && byte !== 27) || byte === 127);
}

function textKind(text: string, fileName: string): ContentKind {
  if (/^\s*(<!doctype html|<html|<\?xml)/i.test(text)) return other('a web page');
  const [firstLine = ''] = text.split('\n', 1);
  if (/^[0-9a-f]{64} [ *]\S/i.test(firstLine) || fileName === 'SHA256SUMS') {
    return { role: 'checksums', name: 'a list of SHA-256 digests' };
  }
  if (/^([0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{128}) [ *]\S/i.test(firstLine)) return other('a list of other digests');
  if (/^[a-z0-9][a-z0-9+.:-]+[\t ]+[0-9]\S*$/.test(firstLine)) return other('a package manifest');
  return other('a text file');
}
