import type { FileType } from '../inode.ts';
import { truncated, unsafe, unsupported } from '../refusals.ts';
import { type Region, readRegion } from '../region.ts';
import { corruptArchive, type PaxRecords, parsePaxRecords } from './pax.ts';

/** One entry of the archive of an upper directory. Each character of a path is one byte. */
export interface Member {
  /** Without `./` before it or a slash behind it; empty for the root. */
  readonly path: string;
  readonly type: FileType | 'link';
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  /** Of a symbolic link; of a hard link, the path of the entry that it is a link to. */
  readonly target: string;
  readonly major: number;
  readonly minor: number;
  readonly records: PaxRecords;
  /** The header itself, without those before it. */
  readonly header: Buffer;
  /** Place of the content in the archive. */
  readonly contentAt: number;
}

export const tarBlockBytes = 512;
/** Linux limits the attributes of a file to some 64 KiB. */
const maximumExtraBytes = 1024 * 1024;
/** PATH_MAX of Linux. */
const maximumPathBytes = 4096;
const types: Readonly<Record<string, Member['type'] | undefined>> = {
  '0': 'file',
  '\0': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
};

/**
 * The entries of an untrusted tar archive as GNU tar writes it: ustar, with pax headers or GNU's long names. Only headers
 * are read. Throws `image.corrupt`, `image.unsafe` for paths that lead out of it, `image.unsupported` for entries of other
 * types, `image.truncated`, or the reason of the signal.
 */
export async function* readMembers(archive: Region, signal: AbortSignal): AsyncGenerator<Member, void, undefined> {
  let records: PaxRecords = new Map();
  let longPath: string | null = null;
  let longTarget: string | null = null;
  for (let at = 0; at < archive.length; ) {
    signal.throwIfAborted();
    if (at + tarBlockBytes > archive.length) throw truncated('its change ends within a header');
    const header = await readRegion(archive, at, tarBlockBytes);
    if (header.every((byte) => byte === 0)) return;
    checkSum(header);
    const flag = header.toString('latin1', 156, 157);
    const own = numberAt(header, 124, 12);
    const isExtra = ['x', 'g', 'L', 'K'].includes(flag);
    const sizeBytes = isExtra ? own : (decimal(records, 'size') ?? own);
    const contentAt = at + tarBlockBytes;
    const end = contentAt + Math.ceil(sizeBytes / tarBlockBytes) * tarBlockBytes;
    if (end > archive.length) throw truncated('its change ends within an entry');
    at = end;
    if (isExtra) {
      if (sizeBytes > maximumExtraBytes) throw corruptArchive(`a header of an entry has ${sizeBytes} bytes`);
      const content = await readRegion(archive, contentAt, sizeBytes);
      if (flag === 'x') records = parsePaxRecords(content);
      if (flag === 'L') longPath = textAt(content, 0, content.length);
      if (flag === 'K') longTarget = textAt(content, 0, content.length);
      continue;
    }
    const member = memberOf(header, records, longPath, longTarget);
    if (member.type !== 'file' && sizeBytes !== 0) throw corruptArchive(`${member.path} has a content`);
    yield { ...member, sizeBytes, contentAt };
    records = new Map();
    longPath = null;
    longTarget = null;
  }
}

function memberOf(
  header: Buffer,
  records: PaxRecords,
  longPath: string | null,
  longTarget: string | null,
): Omit<Member, 'sizeBytes' | 'contentAt'> {
  const flag = header.toString('latin1', 156, 157);
  const type = types[flag];
  if (type === undefined) throw unsupported(`its change has an entry of type ${JSON.stringify(flag)}`);
  const prefix = header.toString('latin1', 257, 263) === 'ustar\0' ? textAt(header, 345, 155) : '';
  const short = textAt(header, 0, 100);
  const path = records.get('path')?.toString('latin1') ?? longPath ?? (prefix === '' ? short : `${prefix}/${short}`);
  const target = records.get('linkpath')?.toString('latin1') ?? longTarget ?? textAt(header, 157, 100);
  return {
    ...{ path: cleanPath(path), type, records, header },
    target: type === 'link' ? cleanPath(target) : target,
    mode: numberAt(header, 100, 8) & 0o7777,
    uid: decimal(records, 'uid') ?? numberAt(header, 108, 8),
    gid: decimal(records, 'gid') ?? numberAt(header, 116, 8),
    major: numberAt(header, 329, 8),
    minor: numberAt(header, 337, 8),
  };
}

function cleanPath(path: string): string {
  const parts = path.split('/');
  if (path.startsWith('/') || parts.includes('..') || path.includes('\0') || path.length > maximumPathBytes) {
    throw unsafe(`its change has the path ${JSON.stringify(path.slice(0, 200))}`);
  }
  return parts.filter((part) => part !== '' && part !== '.').join('/');
}

function textAt(bytes: Buffer, start: number, length: number): string {
  const field = bytes.subarray(start, start + length);
  const end = field.indexOf(0);
  return field.toString('latin1', 0, end < 0 ? field.length : end);
}

/** Octal digits, or GNU's binary numbers. */
function numberAt(header: Buffer, start: number, length: number): number {
  const value =
    header[start] === 0x80
      ? header.readUIntBE(start + length - 6, 6)
      : Number.parseInt(textAt(header, start, length).trim() || '0', 8);
  if (!Number.isSafeInteger(value) || value < 0) throw corruptArchive('a header has a field that is no number');
  return value;
}

function decimal(records: PaxRecords, keyword: string): number | undefined {
  const text = records.get(keyword)?.toString('latin1');
  if (text === undefined) return undefined;
  const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value)) throw corruptArchive(`an extended header has no number as ${keyword}`);
  return value;
}

function checkSum(header: Buffer): void {
  let sum = 8 * 0x20;
  for (const [index, byte] of header.entries()) if (index < 148 || index >= 156) sum += byte;
  if (numberAt(header, 148, 8) !== sum) throw corruptArchive('a header has a wrong sum');
}
