import type { Member } from './members.ts';
import type { PaxRecords } from './pax.ts';
import { corrupt, shown, unsafe, unsupported } from './refusals.ts';

/** Keywords of extended headers: POSIX.1-2001 (pax), and those of star, GNU tar and libarchive. */

/** Keywords that say nothing else than the header does, or nothing that a file system keeps. */
const plainKeywords = new Set([
  ...['path', 'linkpath', 'size', 'uid', 'gid', 'uname', 'gname', 'mtime', 'atime', 'ctime', 'comment'],
  ...['SCHILY.dev', 'SCHILY.ino', 'SCHILY.nlink', 'LIBARCHIVE.creationtime'],
]);
const attributeKeyword = 'SCHILY.xattr.';
/** libarchive writes each attribute a second time: the name as in a URL, the value in Base64. */
const copyKeyword = 'LIBARCHIVE.xattr.';
const aclKeywords = new Set([
  ...['SCHILY.acl.access', 'SCHILY.acl.default'],
  ...['SCHILY.xattr.system.posix_acl_access', 'SCHILY.xattr.system.posix_acl_default'],
]);
/** Both are what libarchive writes. */
const characterSets = new Set(['BINARY', 'ISO-IR 10646 2000 UTF-8']);
const capability = `${attributeKeyword}security.capability`;
/** The kernel's structures of versions 1, 2 and 3. */
const capabilityBytes = new Set([12, 20, 24]);
/** Limit of Linux. */
const maximumValueBytes = 65_536;
const noAttributes: PaxRecords = new Map();

/**
 * The records of a member that hold attributes and ACLs of its file, by their keywords. Throws `image.unsafe` for attributes
 * that no root file system needs, such as those of overlayfs, `image.unsupported` for keywords that are not known, and
 * `image.corrupt`.
 */
export function attributesOf(member: Member): PaxRecords {
  let attributes: Map<string, Buffer> | null = null;
  for (const [keyword, value] of member.records) {
    if (plainKeywords.has(keyword)) continue;
    if (keyword === 'hdrcharset') {
      if (characterSets.has(value.toString('latin1'))) continue;
      throw unsupported(`the header of ${shown(member.name)} has another character set`);
    }
    if (keyword.startsWith(copyKeyword)) {
      checkCopy(member, keyword, value);
      continue;
    }
    checkAttribute(member, keyword, value);
    attributes ??= new Map();
    attributes.set(keyword, Buffer.from(value));
  }
  return attributes ?? noAttributes;
}

/** Whether two files have the same attributes and ACLs. */
export function sameAttributes(one: PaxRecords, other: PaxRecords): boolean {
  return one.size === other.size && [...one].every(([keyword, value]) => other.get(keyword)?.equals(value) === true);
}

function checkAttribute({ name, type }: Member, keyword: string, value: Buffer): void {
  const isUser =
    keyword.startsWith(`${attributeKeyword}user.`) && !keyword.startsWith(`${attributeKeyword}user.overlay.`);
  if (!isUser && keyword !== capability && !aclKeywords.has(keyword)) {
    if (keyword.startsWith(attributeKeyword)) {
      throw unsafe(`${shown(name)} has the attribute ${shown(keyword.slice(attributeKeyword.length))}`);
    }
    throw unsupported(`the header of ${shown(name)} has the keyword ${shown(keyword)}, which is not known`);
  }
  if (value.length > maximumValueBytes) throw corrupt(`an attribute of ${shown(name)} has ${value.length} bytes`);
  if (keyword.includes('\0')) throw corrupt(`an attribute of ${shown(name)} has a zero byte in its name`);
  if (keyword !== capability) return;
  if (type !== 'file' && type !== 'link') throw unsafe(`${shown(name)} is no file, and has capabilities`);
  if (!capabilityBytes.has(value.length)) throw corrupt(`the capabilities of ${shown(name)} are damaged`);
}

/** Programs read one of the two or the other: they have to say the same. */
function checkCopy({ name, records }: Member, keyword: string, value: Buffer): void {
  const original = records.get(attributeKeyword + unescapeName(keyword.slice(copyKeyword.length)));
  if (original?.equals(Buffer.from(value.toString('latin1'), 'base64')) === true) return;
  throw corrupt(`an attribute of ${shown(name)} is there twice, with two values`);
}

function unescapeName(name: string): string {
  return name.replace(/%([0-9a-fA-F]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
}
