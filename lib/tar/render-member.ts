import { withAclTexts } from './acl-attributes.ts';
import { type MemberType, nameFieldBytes, tarBlockBytes, typeFlags } from './header.ts';
import { type PaxRecords, renderPaxRecords } from './pax.ts';
import { tooLarge } from './refusals.ts';
import { renderExtra, withSum } from './render.ts';
import type { ArchiveForm } from './root-archive.ts';

/** A member that is written anew. Each character of its names is one byte. */
export interface NewMember {
  readonly name: string;
  readonly type: MemberType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  /** Whole seconds since 1970; negative before. */
  readonly modified: number;
  readonly target: string;
  readonly major: number;
  readonly minor: number;
  /** Attributes and ACLs by their keywords; GNU's own format has no place for them. */
  readonly attributes: PaxRecords;
}

const prefixBytes = 155;
const largestSmall = 8 ** 7 - 1;
const largestSize = 8 ** 11 - 1;

/** The headers of a member in the form of its archive. Throws `image.too_large` for a file that the form cannot hold. */
export function renderMember(member: NewMember, form: ArchiveForm): Buffer {
  if (member.sizeBytes > largestSize) throw tooLarge(`a new file has ${member.sizeBytes} bytes`);
  return form === 'gnu' ? renderGnu(member) : renderPax(member, form);
}

function renderGnu(member: NewMember): Buffer {
  const [name, target] = [bytesOf(member.name), bytesOf(member.target)];
  const header = renderFields(member, name, target, 'ustar  \0');
  if (member.modified < 0) {
    // GNU's binary form, with the sign in all bits before the number.
    header.fill(0xff, 136, 148);
    header.writeBigInt64BE(BigInt(member.modified), 140);
  }
  writeOwner(header, member.uid, 108);
  writeOwner(header, member.gid, 116);
  const zero = Buffer.alloc(1);
  return Buffer.concat([
    ...(target.length > nameFieldBytes ? [renderExtra('K', Buffer.concat([target, zero]))] : []),
    ...(name.length > nameFieldBytes ? [renderExtra('L', Buffer.concat([name, zero]))] : []),
    withSum(header),
  ]);
}

/** Octal digits, or GNU's binary form for what needs more. */
function writeOwner(header: Buffer, value: number, at: number): void {
  if (value <= largestSmall) return;
  header.fill(0, at, at + 8);
  header.writeUInt8(0x80, at);
  header.writeUInt32BE(value, at + 4);
}

function renderPax(member: NewMember, form: ArchiveForm): Buffer {
  const [name, target] = [bytesOf(member.name), bytesOf(member.target)];
  // Programs that know only ustar read the name from its two fields.
  const split = form === 'pax' ? 0 : splitName(member.name);
  const records = new Map<string, Buffer>();
  if (name.length > nameFieldBytes && split === 0) records.set('path', name);
  if (target.length > nameFieldBytes) records.set('linkpath', target);
  if (member.uid > largestSmall) records.set('uid', Buffer.from(`${member.uid}`));
  if (member.gid > largestSmall) records.set('gid', Buffer.from(`${member.gid}`));
  if (member.modified < 0) records.set('mtime', Buffer.from(`${member.modified}`));
  for (const [keyword, value] of withAclTexts(member.attributes)) records.set(keyword, value);
  const header = renderFields(member, split === 0 ? name : name.subarray(split + 1), target, 'ustar\x0000');
  if (split > 0) name.copy(header, 345, 0, split);
  const pax = renderPaxRecords(records);
  return Buffer.concat([...(pax.length > 0 ? [renderExtra('x', pax)] : []), withSum(header)]);
}

/** Place of the slash that parts a long name into the two fields of ustar; 0 where none does. */
function splitName(name: string): number {
  if (name.length <= nameFieldBytes) return 0;
  const place = name.lastIndexOf('/', Math.min(prefixBytes, name.length - 2));
  return place > 0 && name.length - place - 1 <= nameFieldBytes ? place : 0;
}

function renderFields(member: NewMember, name: Buffer, target: Buffer, mark: string): Buffer {
  const header = Buffer.alloc(tarBlockBytes);
  const octal = (value: number, at: number, length: number) =>
    header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
  name.copy(header, 0, 0, nameFieldBytes);
  octal(member.mode, 100, 8);
  octal(member.uid > largestSmall ? 0 : member.uid, 108, 8);
  octal(member.gid > largestSmall ? 0 : member.gid, 116, 8);
  octal(member.sizeBytes, 124, 12);
  octal(Math.min(Math.max(member.modified, 0), largestSize), 136, 12);
  header.write(typeFlags[member.type], 156, 'latin1');
  target.copy(header, 157, 0, nameFieldBytes);
  header.write(mark, 257, 'latin1');
  const isDevice = member.type === 'character' || member.type === 'block';
  octal(isDevice ? member.major : 0, 329, 8);
  octal(isDevice ? member.minor : 0, 337, 8);
  return header;
}

function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}
