import type { FileHandle } from 'node:fs/promises';
import { ImageBuilderError } from '../../errors.ts';
import { readAt, readLittle } from '../read-at.ts';
import { assertMemberCount, type Member } from './member.ts';

/** The ways to pack a file in a zip archive that are read here: stored, deflate (APPNOTE.TXT 4.4.5). */
export type ZipMethod = 'stored' | 'deflate';

export interface ZipMember extends Member {
  readonly method: ZipMethod;
  /** Bytes of the file itself. */
  readonly contentBytes: number;
  /** CRC-32 of the file itself. */
  readonly crc32: number;
}

const endBytes = 22;
const longestComment = 65_535;
const mostDirectoryBytes = 2 ** 20;
const methods: Readonly<Record<number, ZipMethod>> = { 0: 'stored', 8: 'deflate' };

/**
 * The files of a zip archive by its central directory (PKWARE's APPNOTE.TXT, 4.3.12 to 4.3.16, with zip64). Throws
 * `image.corrupt` for a damaged one, `image.unsupported` for one that is encrypted, in parts, or packed another way.
 */
export async function readZipMembers(handle: FileHandle, fileBytes: number): Promise<ZipMember[]> {
  const directory = await findDirectory(handle, fileBytes);
  if (directory.sizeBytes > mostDirectoryBytes) {
    throw unsupported('its directory is longer than one of an archive with a disk image');
  }
  const bytes = await readAt(handle, directory.offset, directory.sizeBytes);
  const members: ZipMember[] = [];
  for (let position = 0; position + 46 <= bytes.length && bytes.readUInt32LE(position) === 0x02014b50; ) {
    const entry = bytes.subarray(position);
    const lengths = [28, 30, 32].map((offset) => entry.readUInt16LE(offset));
    const [nameBytes = 0, extraBytes = 0, commentBytes = 0] = lengths;
    position += 46 + nameBytes + extraBytes + commentBytes;
    if (position > bytes.length) throw corrupt('its directory is cut off');
    const name = entry.toString('utf8', 46, 46 + nameBytes);
    if (name.endsWith('/')) continue;
    members.push(await readMember(handle, fileBytes, name, entry.subarray(0, 46 + nameBytes + extraBytes)));
    assertMemberCount(members, 'zip archive');
  }
  return members;
}

async function findDirectory(handle: FileHandle, fileBytes: number) {
  const tailBytes = Math.min(fileBytes, endBytes + longestComment);
  const tail = await readAt(handle, fileBytes - tailBytes, tailBytes);
  const place = tail.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  if (place < 0 || place + endBytes > tail.length) throw corrupt('it has no end');
  const end = tail.subarray(place);
  const [sizeBytes, offset] = [end.readUInt32LE(12), end.readUInt32LE(16)];
  const large = sizeBytes === 0xffffffff || offset === 0xffffffff || end.readUInt16LE(10) === 0xffff;
  const directory = large ? await findLargeDirectory(handle, fileBytes - tailBytes + place) : { sizeBytes, offset };
  if (directory.offset + directory.sizeBytes > fileBytes) throw corrupt('its directory lies behind its end');
  return directory;
}

/** Where the directory of a zip64 archive is: by a locator of 20 bytes just before the end record. */
async function findLargeDirectory(handle: FileHandle, endOffset: number) {
  if (endOffset < 20) throw corrupt('it has no zip64 locator');
  const locator = await readAt(handle, endOffset - 20, 20);
  const offset = readLittle(locator, 8);
  if (locator.readUInt32LE(0) !== 0x07064b50 || offset + 56 > endOffset) throw corrupt('it has no zip64 locator');
  const record = await readAt(handle, offset, 56);
  if (record.readUInt32LE(0) !== 0x06064b50) throw corrupt('it has no zip64 record');
  return { sizeBytes: readLittle(record, 40), offset: readLittle(record, 48) };
}

async function readMember(handle: FileHandle, fileBytes: number, name: string, entry: Buffer): Promise<ZipMember> {
  if ((entry.readUInt16LE(8) & 1) !== 0) throw unsupported(`${name} is encrypted`);
  const method = methods[entry.readUInt16LE(10)];
  if (method === undefined) throw unsupported(`${name} is packed by a method other than deflate`);
  const { sizeBytes, contentBytes, headerOffset } = readSizes(entry, 46 + entry.readUInt16LE(28));
  if (headerOffset + 30 > fileBytes) throw corrupt(`${name} lies behind its end`);
  const header = await readAt(handle, headerOffset, 30);
  if (header.readUInt32LE(0) !== 0x04034b50) throw corrupt(`${name} has no header`);
  const dataOffset = headerOffset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
  if (dataOffset + sizeBytes > fileBytes) throw corrupt(`${name} ends behind its end`);
  return { name, sizeBytes, contentBytes, dataOffset, method, crc32: entry.readUInt32LE(16) };
}

/** Sizes and place; those that do not fit into 32 bits stand in the zip64 field (header id 1), in this order. */
function readSizes(entry: Buffer, extraOffset: number) {
  const content = entry.readUInt32LE(24);
  const packed = entry.readUInt32LE(20);
  const header = entry.readUInt32LE(42);
  const large = zip64Field(entry.subarray(extraOffset));
  let position = 0;
  const wide = (value: number): number => {
    if (value !== 0xffffffff) return value;
    if (large === null || position + 8 > large.length) throw corrupt('a size is missing');
    position += 8;
    return readLittle(large, position - 8);
  };
  const contentBytes = wide(content);
  const sizeBytes = wide(packed);
  return { contentBytes, sizeBytes, headerOffset: wide(header) };
}

function zip64Field(extra: Buffer): Buffer | null {
  for (let position = 0; position + 4 <= extra.length; ) {
    const length = extra.readUInt16LE(position + 2);
    if (extra.readUInt16LE(position) === 1) return extra.subarray(position + 4, position + 4 + length);
    position += 4 + length;
  }
  return null;
}

function corrupt(what: string): ImageBuilderError {
  return new ImageBuilderError('image.corrupt', `the zip archive is damaged: ${what}`);
}

function unsupported(what: string): ImageBuilderError {
  return new ImageBuilderError('image.unsupported', `the zip archive cannot be opened: ${what}`);
}
