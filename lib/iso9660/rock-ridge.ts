import { isUtf8 } from 'node:buffer';
import { blockBytes, corrupt, readBoth32, unsafe, unsupported, type Volume } from './volume.ts';

/**
 * The POSIX names and modes of files: Rock Ridge (IEEE P1282) over the System Use Sharing Protocol (IEEE P1281). Fields
 * of other extensions are passed over, as Linux does.
 */

/** The facts that a record's fields state. */
export interface RockRidge {
  /** Null where the file has its ISO 9660 name only. */
  readonly name: string | null;
  readonly owner: Owner | null;
  /** Target of a symbolic link; null for other files. */
  readonly target: string | null;
  /** Block of a folder that is stored elsewhere, because it is too deep; null for others. */
  readonly childBlock: number | null;
  /** True for such a folder in the place where it is stored, in which nobody sees it. */
  readonly isRelocated: boolean;
  /** A way in which the content differs from the bytes of the file; null where it does not. */
  readonly encoding: 'zisofs' | 'sparse' | null;
}

/** Type and permissions as stat(2) has them, and the owner. */
export interface Owner {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Linux follows as many. */
const maximumContinuations = 32;
const maximumNameBytes = 255;
const maximumTargetBytes = 4096;
const rockRidgeIds: readonly string[] = ['RRIP_1991A', 'IEEE_P1282', 'IEEE_1282'];

interface Field {
  readonly signature: string;
  readonly data: Buffer;
}

/** How a volume uses the fields: by the record of its root folder for itself. */
export interface SystemUse {
  /** Bytes to skip at the start of each record's part. */
  readonly skipBytes: number;
  /** True where the volume says that it has Rock Ridge, and not only that it may have fields. */
  readonly announced: boolean;
}

/** Null where the root's record has no fields of the protocol. */
export async function readSystemUse(volume: Volume, rootUse: Buffer): Promise<SystemUse | null> {
  // CD-ROM XA keeps 14 bytes of its own before them.
  const start = [0, 14].find((at) => rootUse.toString('latin1', at, at + 2) === 'SP');
  if (start === undefined || rootUse.length < start + 7) return null;
  if (rootUse.readUInt8(start + 4) !== 0xbe || rootUse.readUInt8(start + 5) !== 0xef) return null;
  let announced = false;
  for (const { signature, data } of await readFields(volume, rootUse.subarray(start))) {
    if (signature !== 'ER' || data.length < 8) continue;
    if (rockRidgeIds.includes(data.toString('latin1', 8, 8 + data.readUInt8(4)))) announced = true;
  }
  return { skipBytes: rootUse.readUInt8(start + 6), announced };
}

/**
 * The fields of one record. Throws `image.unsafe` for names that could leave their folder, and `image.corrupt` for
 * fields that leave their place or go on for ever.
 */
export async function readRockRidge(volume: Volume, systemUse: Buffer): Promise<RockRidge> {
  const nameParts: Buffer[] = [];
  const linkFields: Buffer[] = [];
  let found: Omit<RockRidge, 'name' | 'target'> = { owner: null, childBlock: null, isRelocated: false, encoding: null };
  for (const { signature, data } of await readFields(volume, systemUse)) {
    if (signature === 'NM') nameParts.push(namePart(data));
    else if (signature === 'SL') linkFields.push(data);
    else if (signature === 'PX') found = { ...found, owner: parseOwner(data) };
    else if (signature === 'CL')
      found = { ...found, childBlock: fieldNumber(data, 4, 'the place of a relocated folder') };
    else if (signature === 'RE') found = { ...found, isRelocated: true };
    else if (signature === 'ZF') found = { ...found, encoding: 'zisofs' };
    else if (signature === 'SF') found = { ...found, encoding: 'sparse' };
  }
  return {
    ...found,
    name: nameParts.length === 0 ? null : checkName(Buffer.concat(nameParts)),
    target: linkFields.length === 0 ? null : parseTarget(linkFields),
  };
}

/** All fields of a record, those in its continuation areas too. */
async function readFields(volume: Volume, systemUse: Buffer): Promise<Field[]> {
  const fields: Field[] = [];
  let area: Buffer | null = systemUse;
  for (let continuations = 0; area !== null; continuations++) {
    if (continuations > maximumContinuations) throw corrupt('the Rock Ridge fields of a file go on for ever');
    let next: Buffer | null = null;
    for (let at = 0; at + 4 <= area.length; ) {
      const lengthBytes = area.readUInt8(at + 2);
      // Zeros fill the rest of an area.
      if (area.readUInt8(at) === 0 && lengthBytes === 0) break;
      if (lengthBytes < 4 || at + lengthBytes > area.length) {
        throw corrupt(`a Rock Ridge field claims ${lengthBytes} bytes where ${area.length - at} are left`);
      }
      const field = { signature: area.toString('latin1', at, at + 2), data: area.subarray(at, at + lengthBytes) };
      at += lengthBytes;
      if (field.signature === 'ST') break;
      if (field.signature === 'CE') next = await readContinuation(volume, field.data);
      else fields.push(field);
    }
    area = next;
  }
  return fields;
}

async function readContinuation(volume: Volume, field: Buffer): Promise<Buffer> {
  if (field.length < 28) throw corrupt('a Rock Ridge field CE is too short');
  const start = readBoth32(field, 4, 'the place of a continuation area') * blockBytes;
  const offset = readBoth32(field, 12, 'the offset of a continuation area');
  const lengthBytes = readBoth32(field, 20, 'the length of a continuation area');
  if (start + blockBytes > volume.sizeBytes || offset + lengthBytes > blockBytes) {
    throw corrupt('a continuation area of Rock Ridge fields leaves its block');
  }
  return await volume.disk.read(start + offset, lengthBytes);
}

const currentFlag = 0x02;
const parentFlag = 0x04;
const rootFlag = 0x08;

function namePart(field: Buffer): Buffer {
  if (field.length < 5) throw corrupt('a Rock Ridge field NM is too short');
  if ((field.readUInt8(4) & (currentFlag | parentFlag)) !== 0) {
    throw unsafe('a file has the name of its folder or of the folder above');
  }
  return field.subarray(5);
}

/** The name of a file as text. Throws `image.unsafe` for names that no folder can have. */
export function checkName(bytes: Buffer): string {
  const name = isUtf8(bytes) ? bytes.toString('utf8') : bytes.toString('latin1');
  if (name === '' || name === '.' || name === '..') throw unsafe(`a file has the name ${JSON.stringify(name)}`);
  if (name.includes('/') || name.includes('\0')) throw unsafe('the name of a file holds a slash or a zero byte');
  if (bytes.length > maximumNameBytes) throw unsupported(`the name of a file has ${bytes.length} bytes`);
  return name;
}

function parseOwner(field: Buffer): Owner {
  return {
    mode: fieldNumber(field, 4, 'the mode of a file'),
    uid: fieldNumber(field, 20, 'the owner of a file'),
    gid: fieldNumber(field, 28, 'the group of a file'),
  };
}

function fieldNumber(field: Buffer, at: number, what: string): number {
  if (field.length < at + 8) throw corrupt(`a Rock Ridge field is too short for ${what}`);
  return readBoth32(field, at, what);
}

/** The target of a symbolic link out of its components. */
function parseTarget(fields: readonly Buffer[]): string {
  let target = '';
  let goesOn = false;
  for (const field of fields) {
    for (let at = 5; at + 2 <= field.length; ) {
      const flags = field.readUInt8(at);
      const end = at + 2 + field.readUInt8(at + 1);
      if (end > field.length) throw corrupt('a component of a symbolic link leaves its Rock Ridge field');
      const bytes = field.subarray(at + 2, end);
      if (bytes.includes(0)) throw unsafe('the target of a symbolic link holds a zero byte');
      const separator = goesOn || target === '' || target.endsWith('/') ? '' : '/';
      target += separator + component(flags, bytes);
      if (target.length > maximumTargetBytes) {
        throw unsupported(`a symbolic link has a target of more than ${maximumTargetBytes} characters`);
      }
      goesOn = (flags & 0x01) !== 0;
      at = end;
    }
  }
  return target;
}

function component(flags: number, bytes: Buffer): string {
  if ((flags & rootFlag) !== 0) return '/';
  if ((flags & parentFlag) !== 0) return '..';
  if ((flags & currentFlag) !== 0) return '.';
  return bytes.toString('utf8');
}
