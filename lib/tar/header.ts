import { corrupt } from './refusals.ts';

/** Fields of the headers of tar archives: POSIX.1-1988 (ustar), GNU tar's manual ("Basic Tar Format"), and version 7. */

export const tarBlockBytes = 512;

/** Two blocks of zeros end an archive. */
export const endBytes = 2 * tarBlockBytes;

/** Bytes that a content takes. */
export function padded(sizeBytes: number): number {
  return Math.ceil(sizeBytes / tarBlockBytes) * tarBlockBytes;
}

export type MemberType = 'file' | 'link' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';

/** The letters of types that writers use. */
export const typeFlags: Readonly<Record<MemberType, string>> = {
  file: '0',
  link: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

/** Length of the fields of names in a header. */
export const nameFieldBytes = 100;

/** The form of a header: by its mark, and by what stands around it. `pax` is ustar with extended headers. */
export type HeaderForm = 'ustar' | 'gnu' | 'v7';

/** Places and lengths of the fields of numbers. */
const numberFields = {
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  modified: [136, 12],
  sum: [148, 8],
  major: [329, 8],
  minor: [337, 8],
} as const;

const prefixAt = 345;
const prefixBytes = 155;
const blank = 0x20;
const digitZero = 0x30;
const digitSeven = 0x37;

export function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}

/**
 * A number of a header: octal digits between blanks and zero bytes, or GNU's binary form. Throws `image.corrupt` for
 * anything else: programs read other characters in different ways.
 */
export function numberOf(header: Buffer, name: keyof typeof numberFields): number {
  const [start, length] = numberFields[name];
  return numberAt(header, start, length, name);
}

/**
 * The sum that a header says it has. Throws `image.corrupt` where it has none in octal digits: GNU tar passes over a header
 * whose sum is in the binary form.
 */
export function writtenSum(header: Buffer): number {
  const [start] = numberFields.sum;
  if ((header[start] ?? 0) >= 0x80) throw corrupt('the field sum of a header is no number');
  return numberOf(header, 'sum');
}

/** The same of any field; `name` is for messages. */
export function numberAt(header: Buffer, start: number, length: number, name: string): number {
  const field = header.subarray(start, start + length);
  const [first = 0] = field;
  if (first >= 0x80) return binaryNumber(field, name);
  let at = 0;
  while (at < length && field[at] === blank) at += 1;
  // GNU tar passes over such a header, others read 0.
  if (at === length) throw corrupt(`the field ${name} of a header is empty`);
  let value = 0;
  for (; at < length; at += 1) {
    const byte = field[at] ?? 0;
    if (byte < digitZero || byte > digitSeven) break;
    value = 8 * value + byte - digitZero;
  }
  for (; at < length; at += 1) {
    if (field[at] !== blank && field[at] !== 0) throw corrupt(`the field ${name} of a header is no number`);
  }
  return value;
}

/** First byte 80 and zeros before the number; FF begins a negative one, which only a time can be: before 1970. */
function binaryNumber(field: Buffer, name: string): number {
  const places = field.length - 6;
  if (field[0] === 0xff) {
    if (name !== 'modified') throw corrupt(`the field ${name} of a header is a negative number`);
    if (field.subarray(1, places).some((byte) => byte !== 0xff)) {
      throw corrupt(`the field ${name} of a header is too large a number`);
    }
    return field.readUIntBE(places, 6) - 2 ** 48;
  }
  if (field[0] !== 0x80) throw corrupt(`the field ${name} of a header is no number`);
  if (!isZero(field.subarray(1, places))) throw corrupt(`the field ${name} of a header is too large a number`);
  return field.readUIntBE(places, 6);
}

/** The bytes of a field up to the first zero byte; each character is one byte. */
export function textAt(bytes: Buffer, start: number, length: number): string {
  const field = bytes.subarray(start, start + length);
  const end = field.indexOf(0);
  return field.toString('latin1', 0, end < 0 ? field.length : end);
}

/** Throws `image.corrupt` for a mark that is of none of the forms, or for bytes that only some programs read. */
export function formOf(header: Buffer): HeaderForm {
  const mark = header.toString('latin1', 257, 265);
  if (mark === 'ustar\x0000') {
    if (!isZero(header.subarray(500))) throw corrupt('a header has bytes behind its last field');
    return 'ustar';
  }
  if (mark === 'ustar  \0') {
    // Times, places in other volumes and maps of holes: programs that do not know them take them for part of a name.
    if (!isZero(header.subarray(prefixAt))) throw corrupt("a header has fields of GNU tar's incremental archives");
    return 'gnu';
  }
  const { major, minor } = numberFields;
  const ownAt = minor[0] + minor[1];
  if (!isZero(header.subarray(257, major[0])) || !isZero(header.subarray(ownAt))) {
    throw corrupt('a header has the mark of an unknown format');
  }
  // GNU tar writes zeros as numbers of devices there.
  if (!isZero(header.subarray(major[0], ownAt)) && numberOf(header, 'major') + numberOf(header, 'minor') > 0) {
    throw corrupt('a header of version 7 has numbers of a device');
  }
  return 'v7';
}

/** The name in the header itself; ustar has a field for its first part. */
export function shortName(header: Buffer, form: HeaderForm): string {
  const name = textAt(header, 0, nameFieldBytes);
  const prefix = form === 'ustar' ? textAt(header, prefixAt, prefixBytes) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}
